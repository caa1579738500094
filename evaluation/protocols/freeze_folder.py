"""A published folder as a frozen protocol: every picture looked at once, what cannot be judged named with its cause.

In: a folder and a protocol's name. Out: a `Protocol` whose face ids are paths inside the folder, its source, and the
dropped rows. Persons, where the lists do not name them: pictures that share a reference, or are one another's, show one
person.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace

from anchorface.evaluation.metrics.landmarks import DETECTOR
from anchorface.evaluation.protocol import Protocol, ProtocolRow, weight_hash
from anchorface.evaluation.protocols.layouts import STAGE, Folder, Listed, published
from anchorface.evaluation.sources import FaceFolder
from anchorface.records import DataError, Dropped, PhotoError, derive, storage
from anchorface.records.table_stream import sha256_of

REASON = "from the published list"


def freeze_folder(name: str, uri: str, *, judge: str, size: int = 512, count: int | None = None, seed: int = 0,
                  landmarks: str = DETECTOR, progress: Callable[[str], None] | None = None
                  ) -> tuple[Protocol, FaceFolder, tuple[Dropped, ...]]:
    """Read a published layout and freeze what is judged.

    Args:
        name: a protocol of `layouts.PUBLISHED`. uri: the folder.
        count: the first so many cases; None: all. size: px that pictures are judged at.
        landmarks: weight name of the detector that finds the faces, or `aligned`.

    Raises:
        DataError: the layout is another one, or nothing of it can be judged; says what is missing.
        WeightsError: the detector is not here.
    """
    say = progress or (lambda line: None)
    how = published(name)
    listing = how.read(Folder(uri, size))
    source, dropped = FaceFolder(uri=uri, landmarks=landmarks), list(listing.dropped)
    names = [case.name for case in listing.cases]
    if twice := sorted({n for n in names if names.count(n) > 1}) if len(set(names)) < len(names) else []:
        raise DataError(f"{uri}: two cases of one name: {', '.join(twice[:5])}; outputs could not be told apart")
    hashes: dict[str, str] = {}
    kept: list[Listed] = []
    for case in listing.cases[:count]:
        usable = _usable(case, source, size, hashes, dropped)
        if usable is not None:
            kept.append(usable)
        if len(kept) % 100 == 0:
            say(f"    {len(kept)} cases looked at")
    if not kept:
        causes = "; ".join(sorted({row.cause for row in dropped})[:3])
        raise DataError(f"{uri}: nothing of {name} can be judged ({causes or 'no case is listed'})")
    people = _people(kept)
    rows = tuple(ProtocolRow(number=n, identity=people[n], target=case.target, references=case.references,
                             reasons=(REASON,) * len(case.references), plan=case.plan, degraded=case.degraded,
                             case=case.name, seed=derive(seed, "evaluation noise", n)) for n, case in enumerate(kept))
    listed = [(asdict(case), [hashes[path] for path in _paths(case)]) for case in kept]
    content = hashlib.sha256(repr(listed).encode()).hexdigest()[:16]
    protocol = Protocol(name=name, manifest_id=content, split="published", profile=how.profile, size=size, seed=seed,
                        policy={"layout": name, "landmarks": landmarks}, judge=judge, judge_sha256=weight_hash(judge),
                        embedder="unknown", embedder_sha256="not found", rows=rows)
    return protocol, source, tuple(dropped)


def _usable(case: Listed, source: FaceFolder, size: int, hashes: dict[str, str], dropped: list[Dropped]
            ) -> Listed | None:
    """The case with the references that can be used; None, and why, where its own pictures cannot."""
    def drop(path: str, cause: str, detail: str = "") -> None:
        dropped.append(Dropped(stage=STAGE, uri=storage.join(source.uri, path), row=-1, cause=cause, detail=detail))

    for path in filter(None, (case.degraded, case.target)):
        try:
            hashes[path] = hashes.get(path) or sha256_of(storage.join(source.uri, path))
            source.face(path, size) if path == case.target else source.picture(path, size)
        except PhotoError as error:
            drop(path, error.cause, error.detail)
            return None
    references = []
    for path in case.references:
        try:
            hashes[path] = hashes.get(path) or sha256_of(storage.join(source.uri, path))
            source.face(path, size)
        except PhotoError as error:
            drop(path, error.cause, error.detail)
            continue
        if hashes[path] == hashes[case.target]:
            drop(path, "a reference that equals the target", f"of case {case.name}")
        else:
            references.append(path)
    return replace(case, references=tuple(references))


def _paths(case: Listed) -> tuple[str, ...]:
    return tuple(path for path in (case.target, case.degraded, *case.references) if path)


def _people(cases: Sequence[Listed]) -> list[str]:
    """Who each case shows: named by the list, or by the first of all pictures that are joined to its own."""
    of: dict[str, str] = {}

    def root(path: str) -> str:
        while of.setdefault(path, path) != path:
            path = of[path]
        return path

    for case in cases:
        for path in case.references:
            one, other = sorted((root(case.target), root(path)))
            of[other] = one
    return [case.identity or root(case.target) for case in cases]
