"""Checkpoints of a run: written beside the training, complete when their description stands there, read at any size.

    run_folder/checkpoints/step-00000128/
        state/rank-00000.safetensors   a rank's pieces of parameters, averages and moments (training.state)
        adapter.safetensors            the whole adapters, for use
        ema.safetensors                their moving average
        checkpoint.json                models.checkpoint.Description, written last: recipe, clock, digest chain, hashes

layout: what stands where, and what stays. writer: from a state to files. reader: pieces back from files. deepspeed: the
same from checkpoints that were written before. resume: what a run goes on from, and what may have changed since.
"""
