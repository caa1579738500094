"""What the ranks of a run and its launcher tell each other through the run folder: a wish to stop, and words for the
user.

    run_folder/stop.json            the launcher wishes the run to end at the next step boundary, and says why
    run_folder/notes/*.json         a line for the user, from any rank; the launcher shows and deletes it
    run_folder/failure.json         an error that another attempt would only meet again

Any storage that all of them see will do.
"""

import json
import threading
import time
from typing import Any

from anchorface.records import AnchorfaceError, StorageError, errors
from anchorface.records.state import read_state
from anchorface.records.storage import delete, exists, join, list_files, read_bytes, write_atomic

STOP, NOTES, FAILURE = "stop.json", "notes", "failure.json"


class Notes:
    """One run's, for any of its processes.

    Args:
        run_folder: its URI. rank: of this process; the launcher has none.
    """

    def __init__(self, run_folder: str, rank: int = 0) -> None:
        self.folder, self.rank = run_folder, rank

    def clear(self) -> None:
        """Forget what an earlier start has left."""
        for name in (STOP, FAILURE, NOTES):
            delete(join(self.folder, name))

    def ask_to_stop(self, why: str) -> None:
        """Wish that the run ends in good order."""
        write_atomic(join(self.folder, STOP), json.dumps({"why": why}).encode())

    def stop_asked(self) -> str | None:
        """Why the run shall end, None while nobody wishes it."""
        said = self._read(join(self.folder, STOP))
        return str(said["why"]) if said else None

    def tell(self, text: str) -> None:
        """A line for the user; a storage that is away loses it."""
        place = join(self.folder, NOTES, f"{time.time_ns()}-{self.rank}.json")
        try:
            write_atomic(place, json.dumps({"text": text}).encode())
        except StorageError:
            print(text, flush=True)

    def told(self) -> list[str]:
        """The lines since the last call, in their order; they are deleted."""
        try:
            places = list_files(join(self.folder, NOTES), (".json",))
        except StorageError:
            return []
        found = [said["text"] for place in places if (said := self._read(place))]
        for place in places:
            delete(place)
        return found

    def fail(self, error: AnchorfaceError) -> None:
        """Note an error that another attempt would only meet again."""
        write_atomic(join(self.folder, FAILURE), json.dumps(errors.to_value(error)).encode())

    def failed(self) -> AnchorfaceError | None:
        """The error that was noted."""
        if not exists(join(self.folder, FAILURE)):
            return None
        name, message = read_state(join(self.folder, FAILURE), tuple[str, str])
        return errors.from_value(name, message)

    @staticmethod
    def _read(place: str) -> dict[str, Any] | None:
        try:
            said = json.loads(read_bytes(place)) if exists(place) else None
        except (StorageError, ValueError):
            return None  # it is being written, or the storage is away: asked again soon
        return said if isinstance(said, dict) else None


class Wishes:
    """Looks now and then, beside the training, whether the run shall stop.

    Args:
        notes: the run's. every: seconds between looks.
    """

    def __init__(self, notes: Notes, every: float = 0.5) -> None:
        self.stop: str | None = None
        self._notes, self._every = notes, every
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
