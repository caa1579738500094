"""The degraded films that any program is to restore, from a folder of true ones.

In: a folder of true films (evaluation.films.folder). Out: another such folder, complete: `gt/`, `references/` and
`truth/` as they were, and `lq/NAME.mp4` by a clip profile, with `plans.jsonl`. A film is in memory as a whole.
"""

from collections.abc import Callable
from pathlib import PurePosixPath

from anchorface.degradation.clip import apply_clip, draw_clip
from anchorface.degradation.film import film_bytes, rate_of, read_film
from anchorface.degradation.plan_lines import line_of, write_lines
from anchorface.evaluation.films.folder import film_cases
from anchorface.records import Dropped, PhotoError, rng, storage


def write_film_inputs(folder: str, out: str, *, profile: str = "video_call_clip", seed: int = 0,
                      progress: Callable[[str], None] | None = None) -> list[Dropped]:
    """Degrade every true film of a folder.

    Args:
        folder: of true films. out: another folder. profile: of clips. seed: other seeds, other damage.

    Returns:
        Films that cannot be read or degraded: they are not in `out`.

    Raises:
        ConfigurationError: no such profile. DataError, StorageError: see film_cases.
    """
    storage.require_writable(storage.join(out, "plans.jsonl"))
    lines, dropped = [], []
    for number, case in enumerate(film_cases(folder)):
        try:
            clean, seconds = read_film(case.film)
        except PhotoError as error:
            dropped.append(Dropped(stage="inputs", uri=case.film, row=-1, cause=error.cause, detail=error.detail))
            continue
        plan = draw_clip(profile, rng(seed, "evaluation degradation", number), len(clean), min(clean.shape[1:3]),
                         rate=rate_of(seconds))
        file = f"lq/{case.name}.mp4"
        storage.write_atomic(storage.join(out, file), film_bytes(apply_clip(clean, plan), seconds))
        lines.append(line_of((file, 0), plan))
        places = {case.film: ("gt",), case.truth: ("truth",), **dict.fromkeys(case.references,
                                                                              ("references", case.name))}
        for uri, place in places.items():
            if uri:
                name = PurePosixPath(storage.filesystem(uri)[1]).name
                storage.write_atomic(storage.join(out, *place, name), storage.read_bytes(uri))
        if progress is not None:
            progress(f"{file}: {profile}")
    write_lines(storage.join(out, "plans.jsonl"), lines)
    return dropped
