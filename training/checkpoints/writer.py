"""Writes checkpoints beside the training: a copy is taken at the step boundary, a thread does the rest.

In: a State and a Description. Out: a complete checkpoint in the run folder, on any storage (training.checkpoints).
Every rank writes its own pieces and then a marker that holds their hash. Rank 0 waits for all markers, puts the whole
adapters and averages together from the pieces, and writes the description last, so no barrier stands in the training's
way. One checkpoint is written at a time: the next one waits for it.
"""

import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import torch
from safetensors.torch import save as to_bytes
from torch import Tensor

from anchorface.models.checkpoint import (
    ADAPTER_FILE,
    DESCRIPTION_FILE,
    EMA_FILE,
    FORMAT,
    Description,
    write_description,
)
from anchorface.records import StorageError
from anchorface.records.patience import Patience
from anchorface.records.storage import join, write_atomic
from anchorface.training.checkpoints.layout import STATE, Retention, delete_all, folder_of, read_marker, retain
from anchorface.training.checkpoints.reader import Pieces
from anchorface.training.state import MOMENTS, State

PARAMETER, AVERAGE = "parameter", "average"
POLL_SECONDS = 0.02


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a run's checkpoints go, and who writes them.

    attempt: one word for all ranks of this start of the run: markers of another start do not count.
    """

    run_folder: str
    attempt: str
    rank: int
    world: int
    retention: Retention


class Writer:
    """One rank's writer.

    Args:
        place: the run's. patience: for how long a write that fails (a full disk, a storage that is away) is tried
            again. tell: takes a line for the user, from rank 0.
    """

    def __init__(self, place: Place, patience: Patience, tell: Callable[[str], None]) -> None:
        self.place, self.patience, self.tell = place, patience, tell
        self.paused = 0.0
        self._thread: threading.Thread | None = None
        self._problem: str | None = None
        self._finished: list[tuple[str, Description]] = []
        self._copies: dict[str, Tensor] = {}

    @property
    def problem(self) -> str | None:
        """Why the last checkpoint could not be written, if its time is over."""
        return self._problem

    def save(self, state: State, description: Description, step: int, first: Callable[[], None] | None = None) -> None:
        """Copy what a checkpoint holds, and have it written; waits while the one before is still being written.

        Args:
            state: after `step` optimiser steps. description: what the checkpoint shall say; files and hashes are added.
            first: brings to the storage what must stand there before the checkpoint does, from the writing thread.
        """
        begun = time.monotonic()
        self.wait()
        if self._problem is None:
            tensors, header = self._copy(state)
            self._thread = threading.Thread(
                target=self._persist, name=f"checkpoint {step}", daemon=True,
                args=(tensors, header, description, folder_of(self.place.run_folder, step), first))
            self._thread.start()
        self.paused += time.monotonic() - begun

    def wait(self, seconds: float | None = None) -> None:
        """Until nothing is being written, or so many seconds; then `problem` says how it ended."""
        if self._thread is not None:
            self._thread.join(seconds)
            self._thread = None

    def finished(self) -> list[tuple[str, Description]]:
        """The checkpoints that have become complete since the last call, and what they say; rank 0 alone knows them."""
        done, self._finished = self._finished, []
        return done

    def _copy(self, state: State) -> tuple[dict[str, Tensor], dict[str, str]]:
        """This rank's pieces on the CPU, in memory that is used again for the next checkpoint."""
        groups = {PARAMETER: state.masters(), AVERAGE: state.averages} | {key: state.moments(key) for key in MOMENTS}
        tensors = {}
        for kind, values in groups.items():
            for piece, value in zip(state.owned, values, strict=True):
                name = f"{kind}/{piece.name}"
                kept = self._copies.get(name)
                if kept is None or kept.shape != value.shape:
                    kept = self._copies[name] = torch.empty(value.shape, pin_memory=value.is_cuda)
                tensors[name] = kept.copy_(value.detach(), non_blocking=value.is_cuda)
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        starts = {piece.name: piece.start for piece in state.owned}
        shapes = {name: list(shape) for name, shape in state.shapes.items()}
        return tensors, {"starts": json.dumps(starts), "shapes": json.dumps(shapes), "steps": str(state.steps)}

    def _persist(self, tensors: dict[str, Tensor], header: dict[str, str], description: Description,
                 folder: str, first: Callable[[], None] | None) -> None:
        def write() -> None:
            try:
                if first is not None:
                    first()
                self._write(tensors, header, description, folder)
            except OSError:
                self._forget(folder)
                raise

        try:
            self.patience.persist(folder, write)
        except StorageError as over:
            self._problem = str(over)
            return
        if self.place.rank == 0:
            self._tidy(folder)

    def _write(self, tensors: dict[str, Tensor], header: dict[str, str], description: Description,
               folder: str) -> None:
        content = to_bytes(tensors, metadata=header)
        write_atomic(self._file(folder), content)
        marker = {"attempt": self.place.attempt, "sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
        del content
        write_atomic(self._marker(folder, self.place.rank), json.dumps(marker).encode())
        if self.place.rank == 0:
            self._complete(folder, description)

    def _complete(self, folder: str, description: Description) -> None:
        """Rank 0: everybody's pieces are there; whole files, and the description."""
        files = self._everybodys(folder)
        pieces = Pieces(folder, files, (PARAMETER, AVERAGE))
        for kind, name in ((PARAMETER, ADAPTER_FILE), (AVERAGE, EMA_FILE)):
            header = {"format": str(FORMAT), "kind": "anchorface adapter", "ema": str(kind == AVERAGE).lower()}
            content = to_bytes({key: pieces.whole(kind, key) for key in pieces.shapes}, metadata=header)
            write_atomic(join(folder, name), content)
            files[name] = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
        state = {"steps": pieces.steps, "files": files}
        said = replace(description, extra={**description.extra, "state": state})
        write_description(folder, said)
        self._finished.append((folder, said))

    def _tidy(self, folder: str) -> None:
        """Rank 0, after a checkpoint is complete: markers go, and what retention does not keep. What cannot be deleted
        now is deleted after the next one; the complete one is never touched.
        """
        try:
            problems = delete_all([self._marker(folder, rank) for rank in range(self.place.world)])
            problems += retain(self.place.run_folder, self.place.retention)
        except OSError as error:
            problems = [f"old checkpoints of {self.place.run_folder} cannot be looked for ({error})"]
        if problems:
            self.tell(f"warning: {'; '.join(problems)}")

    def _everybodys(self, folder: str) -> dict[str, Any]:
        """All ranks' files with hash and size, as their markers say, once they are there."""
        files: dict[str, Any] = {}
        end, pause = time.monotonic() + self.patience.seconds, POLL_SECONDS
        for rank in range(self.place.world):
            while (said := read_marker(self._marker(folder, rank))).get("attempt") != self.place.attempt:
                if time.monotonic() > end:
                    raise StorageError(f"{folder}: rank {rank} has not written its pieces")
                time.sleep(pause)
                pause = min(2 * pause, 1.0)
            files[f"{STATE}/{file_of(rank)}"] = {"sha256": said["sha256"], "bytes": said["bytes"]}
        return files

    def _forget(self, folder: str) -> None:
        """Make room: what this rank has written of an incomplete checkpoint goes."""
        own: Iterable[str] = (self._marker(folder, self.place.rank), self._file(folder))
        if self.place.rank == 0:
            own = (join(folder, DESCRIPTION_FILE), *own, join(folder, ADAPTER_FILE), join(folder, EMA_FILE))
        delete_all(list(own))  # what cannot be deleted, `layout.clean` deletes at the next start

    def _file(self, folder: str) -> str:
        return join(folder, STATE, file_of(self.place.rank))

    def _marker(self, folder: str, rank: int) -> str:
        return join(folder, STATE, f"{file_of(rank)}.json")


def file_of(rank: int) -> str:
    """The name of a rank's file."""
    return f"rank-{rank:05d}.safetensors"
