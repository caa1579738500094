"""ONNX networks: one session per file and process, one way to run a batch.

In: float32 arrays [B, 3, H, W]. Out: the network's outputs, float32, first axis B.
"""

from functools import lru_cache
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from anchorface.records.errors import WeightsError

Floats = NDArray[np.float32]


@lru_cache(maxsize=32)
def session(path: str | Path, threads: int = 1) -> onnxruntime.InferenceSession:
    """The session for an ONNX file: on the GPU where onnxruntime has one, else on `threads` CPU threads.

    Raises:
        WeightsError: not an ONNX network.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    wanted = ("CUDAExecutionProvider", "CPUExecutionProvider")
    providers = [p for p in wanted if p in onnxruntime.get_available_providers()]
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=providers)
    except Exception as error:  # onnxruntime's exceptions share no public base
        raise WeightsError(f"{path}: not an ONNX network that onnxruntime can read ({error})") from error


def run(network: onnxruntime.InferenceSession, batch: Floats) -> list[Floats]:
    """All outputs for a batch: in one run, or row by row where the file fixes its batch to one."""
    name = network.get_inputs()[0].name
    if network.get_inputs()[0].shape[0] != 1:
        return list(network.run(None, {name: batch}))
    rows = [network.run(None, {name: batch[i : i + 1]}) for i in range(len(batch))]
    return [np.stack([row[o].reshape(row[o].shape[1:]) if row[o].shape[0] == 1 else row[o] for row in rows])
            for o in range(len(rows[0]))]
