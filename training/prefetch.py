"""Ready batches ahead of the training.

In: the feed's batches. Out: the same in order; where there is a GPU, their pictures are uint8 tensors on it.
"""

import queue
import threading
from collections.abc import Iterator
from typing import Any, Self

import numpy as np
import torch

from anchorface.pipelines.feed.sample import Batch
from anchorface.training.degrade import degraded_on

PICTURES = frozenset({"target", "degraded", "references", "target_latent", "reference_latents"})
"""What goes to a GPU ahead of time; the small arrays stay NumPy's."""


class Prefetch:
    """An iterator that reads another ahead, in a thread.

    On a GPU the pictures are copied from pinned memory on a stream of their own while the training computes, and
    degraded there where the feed sends plans (training.degrade); on the CPU batches pass as they are, but for that. An
    error comes where its batch would have come.

    Args:
        batches: the feed's. It is read, and closed, by the thread alone.
        device: of the training.
        depth: batches that may lie ready; together with the one in the thread's hands at most depth + 1 are held.
    """

    def __init__(self, batches: Iterator[Batch], device: torch.device, depth: int = 2) -> None:
        self._batches, self._device = batches, device
        self._ready: queue.Queue[tuple[Any, BaseException | None]] = queue.Queue(max(depth, 1))
        self._over = threading.Event()
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._thread = threading.Thread(target=self._read, name="prefetch", daemon=True)
        self._thread.start()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        if self._over.is_set():
            raise StopIteration
        batch, error = self._ready.get()
        if error is not None:
            self.close()
            raise error
        if self._stream is not None:
            current = torch.cuda.current_stream(self._device)
            current.wait_stream(self._stream)
            for name in PICTURES & batch.keys():
                batch[name].record_stream(current)  # the copying stream may not take its memory before that
        return batch

    def close(self) -> None:
        """End the thread; what lies ready is dropped. Doing it twice is no error."""
        self._over.set()
        while self._thread.is_alive():
            try:
                self._ready.get(timeout=0.05)
            except queue.Empty:
                continue
        self._thread.join()

    def _read(self) -> None:
        error: BaseException = StopIteration()
        try:
            for batch in self._batches:
                if not self._put((self._ahead(batch), None)):
                    break
        except BaseException as raised:
            error = raised
        finally:
            closing = getattr(self._batches, "close", None)
            if closing is not None:
                closing()
        self._put((None, error))

    def _put(self, item: tuple[Any, BaseException | None]) -> bool:
        """False once nobody reads any more."""
        while not self._over.is_set():
            try:
                self._ready.put(item, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def _ahead(self, batch: Batch) -> dict[str, Any]:
        if self._stream is None:
            return degraded_on(batch, self._device)
        with torch.cuda.stream(self._stream):
            pinned = {name: torch.from_numpy(np.ascontiguousarray(batch[name])).pin_memory() for name in PICTURES
                      if name in batch}
            sent = {name: tensor.to(self._device, non_blocking=True) for name, tensor in pinned.items()}
            return degraded_on(batch | sent, self._device)
