"""One of several processes that train together without Ray: `python one_rank.py jobs rank world meeting`, the meeting a
file or `tcp://...`, where rank 0 keeps the store.

The job file holds a pickled list of Jobs (ours, written by the test that starts this); they run one after another.
"""

import os
import pickle
import sys
from pathlib import Path


def main() -> None:
    jobs_file, rank, world, meeting = sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4]
    os.environ.update({"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world, "DS_ACCELERATOR": "cpu"})
    import torch.distributed as dist

    from anchorface.records.storage import make_folder
    from anchorface.training.launch import run

    met = meeting if "://" in meeting else f"file://{meeting}"
    dist.init_process_group("gloo", init_method=met, rank=int(rank), world_size=int(world))
    for job in pickle.loads(Path(jobs_file).read_bytes()):
        make_folder(job.run_folder)
        run(job, int(world))
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
