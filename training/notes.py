"""What the ranks of a run and its launcher tell each other through the run folder: a wish to stop, and words for the
user.

    run_folder/stop.json            the launcher wishes the run to end at the next step boundary, and says why
    run_folder/notes/*.json         a line for the user, from any rank; the launcher shows and deletes it

Any storage that all of them see will do.
"""

import json
import threading
import time
from collections import deque
from typing import Any

from anchorface.records import StorageError
from anchorface.records.storage import delete, is_local, join, list_files, read_if_there, write_atomic

STOP, NOTES = "stop.json", "notes"
SELDOM = 5.0
"""Seconds between two looks into a run folder in a bucket (our choice)."""
MOST_WAITING = 1000
"""Lines of a process that wait for a storage that is away; of more the oldest are lost (our choice)."""


class Notes:
    """One run's, for any of its processes.

    Args:
        run_folder: its URI. rank: of this process; the launcher has none.
    """

    def __init__(self, run_folder: str, rank: int = 0) -> None:
        self.folder, self.rank = run_folder, rank
        self._waiting: deque[tuple[str, str]] = deque(maxlen=MOST_WAITING)
        self._delivering = threading.Lock()

    def clear(self) -> None:
        """Forget what an earlier start has left."""
        for name in (STOP, NOTES):
            delete(join(self.folder, name))

    def ask_to_stop(self, why: str) -> None:
        """Wish that the run ends in good order."""
        write_atomic(join(self.folder, STOP), json.dumps({"why": why}).encode())

    def stop_asked(self) -> str | None:
        """Why the run shall end, None while nobody wishes it."""
        said = self._read(join(self.folder, STOP))
        return str(said["why"]) if said else None

    def tell(self, text: str) -> None:
        """A line for the user; where the storage is away it is printed here, and waits for `deliver`."""
        self._waiting.append((join(self.folder, NOTES, f"{time.time_ns()}-{self.rank}.json"), text))
        if not self.deliver():
            print(text, flush=True)

    def deliver(self) -> bool:
        """Write the lines that wait, in their order; whether none waits any more."""
        with self._delivering:
            while self._waiting:
                place, text = self._waiting[0]
                try:
                    write_atomic(place, json.dumps({"text": text}).encode())
                except StorageError:
                    return False
                self._waiting.popleft()
        return True

    def told(self) -> list[str]:
        """The lines since the last call, in their order, of equal ones (of several ranks) one; they are deleted."""
        try:
            places = list_files(join(self.folder, NOTES), (".json",))
        except StorageError:
            return []
        found = [said["text"] for place in places if (said := self._read(place))]
        for place in places:
            delete(place)
        return list(dict.fromkeys(found))

    @staticmethod
    def _read(place: str) -> dict[str, Any] | None:
        try:
            said = json.loads(read_if_there(place) or b"null")
        except (StorageError, ValueError):
            return None  # it is being written, or the storage is away: asked again soon
        return said if isinstance(said, dict) else None


class Wishes:
    """Looks now and then, beside the training, whether the run shall stop, and delivers notes that wait.

    Args:
        notes: the run's. every: seconds between looks; None: seldom in a bucket, where each is a request to be paid.
    """

    def __init__(self, notes: Notes, every: float | None = None) -> None:
        self.stop: str | None = None
        self._notes, self._every = notes, every or (0.5 if is_local(notes.folder) else SELDOM)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, name="wishes", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Look no more."""
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(self._every):
            self.stop = self._notes.stop_asked() or self.stop
            self._notes.deliver()
