"""The networks in plain torch.

    encode ─▶ Conditions ─▶ a system: its pathways beside the frozen backbone (adapter, stream) ─▶ velocity ─▶ sampler

`conditions` is the one contract between data, networks and use; a system is a folder (`iconface`, `rg_ipfr`,
`ip_fvr`) and `build` makes it from its settings. Beside them: autoencoder, backbone, LoRA, flow matching, checkpoints,
weight files.
"""
