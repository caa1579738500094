"""Who is who in a whole face table: everything that `group` decides, without writing anything.

In: the face table without crops, another network's embeddings where there are any, decisions, and what was before. Out:
`Found`: the faces that stay with the name of their identity, the doubts, and the faces dropped.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from anchorface.faces.weight_table import WEIGHTS
from anchorface.identity_index.clustering.calibration import Levels, calibrate
from anchorface.identity_index.clustering.cluster import Graph, check_finite, cluster, graph, pairwise_scores
from anchorface.identity_index.clustering.constraints import Constraints, constraints
from anchorface.identity_index.clustering.decisions import rejected
from anchorface.identity_index.clustering.doubt import Doubt, doubts
from anchorface.identity_index.clustering.duplicates import copies, proposed, same_picture, view
from anchorface.identity_index.unit import unit
from anchorface.pipelines.identities.previous import Previous
from anchorface.records.errors import DataError
from anchorface.records.nouns import Decision, Dropped
from anchorface.records.storage import filesystem, join

SUSPICIOUS = 200
OF_TRACK = 4
"""Faces of a track that are compared with all others, of the 32 nearest that each face has: our choice."""
Crops = Callable[[set[str]], Iterable[pa.RecordBatch]]


@dataclass(frozen=True, kw_only=True)
class Found:
    """faces: the table's rows that stay, in order of face id; names: the identity of each. subjects: name -> label.
    doubts: name -> Doubt, whose rows count along `faces`. said: for the report."""

    faces: pa.Table
    names: list[str]
    subjects: dict[str, str]
    doubts: dict[str, Doubt]
    dropped: list[Dropped]
    said: dict[str, Any]

    @property
    def face_ids(self) -> list[str]:
        """The faces that stay."""
        return self.faces["face_id"].to_pylist()


def light_columns(out: str, path: str) -> pa.Table:
    """A part of the face table without its crops, but with their lengths as `crop_bytes`."""
    system, place = filesystem(join(out, path))
    try:
        with system.open_input_file(place) as file:
            parquet = pq.ParquetFile(file)
            lengths = [
                pc.binary_length(batch["crop"]) for batch in parquet.iter_batches(batch_size=256, columns=["crop"])
            ]
            light = parquet.read([name for name in parquet.schema_arrow.names if name != "crop"])
    except (OSError, pa.ArrowInvalid) as error:
        raise DataError(f"{join(out, path)}: not a readable table: {error}") from error
    return light.append_column("crop_bytes", pa.chunked_array(lengths, pa.int32()))


def levels_of(networks: Iterable[str]) -> Levels | None:
    """The levels of the one network that all embeddings are of, where they were measured."""
    names = set(networks)
    measured = next((entry.levels for entry in WEIGHTS if names == {entry.name}), None)
    return Levels(*measured) if measured else None


def find_persons(
    faces: pa.Table, looked: pa.Table | None, decisions: Sequence[Decision], before: Previous,
    settings: Mapping[str, Any], crops: Crops,
) -> Found:
    """Decide who is who.

    Args:
        faces: FACE_SCHEMA without `crop`, with `crop_bytes` and what `tracks.with_tracks` adds, in order of face id.
        looked: face_id and embedding by another network; None takes the table's.
        decisions: of people.
        before: the identities so far.
        settings: of `group`.
        crops: the crops of given faces, in batches (face_id, crop).
    """
    useless = rejected(decisions)
    dropped = []
    if useless:
        out = np.array([face in useless for face in faces["face_id"].to_pylist()])
        dropped = _dropped(faces, np.flatnonzero(out), "rejected by a person")
        faces = faces.filter(pa.array(~out))
    if not len(faces):
        raise DataError("group: every face was rejected by decisions; nothing is left to group")
    vectors = unit(_embeddings(faces, looked))
    check_finite(vectors)
    compared = _compared(faces)
    seen = vectors if len(compared) == len(vectors) else vectors[compared]
    near = graph(seen)
    nearest = _spread(near, compared, len(faces))
    known = constraints(
        faces, labels=settings["labels"], decisions=decisions, existing={} if settings["anew"] else before.identity
    )
    threshold, reason = settings["threshold"], "given"
    if threshold is None and (known.label < 0).any():
        found = calibrate(
            seen, faces["photo_id"].take(compared).to_pylist(), neighbours=near, possible=known.possible,
            levels=levels_of(faces["embedder"].unique().to_pylist() if looked is None else [settings["clusterer"]]),
        )
        threshold, reason = found.threshold, found.reason
    elif threshold is None:
        threshold, reason = 1.0, "all faces are labelled"
    persons = cluster(vectors, known, threshold, nearest=nearest)
    face_ids = faces["face_id"].to_pylist()
    person_names, highest = _name(persons, known, face_ids, before, anew=settings["anew"])
    subjects = {
        person_names[person]: known.labels[known.label[group]]
        for person, group in zip(persons.tolist(), known.start.tolist(), strict=True) if known.label[group] >= 0
    }
    gone = _copies(faces, persons, nearest, crops) if settings["near_duplicates"] == "drop" else {}
    stay = np.array([row for row in range(len(faces)) if row not in gone])
    for row, kept in sorted(gone.items()):
        person = person_names[int(persons[row])]
        dropped += _dropped(faces, [row], f"near-duplicate of {face_ids[kept]}", f"identity {person}")
    merged = known.merged(persons)
    faces, vectors, persons, nearest = faces.take(stay), vectors[stay], persons[stay], _part(nearest, stay)
    attributes = {name: faces[name].to_pylist() for name in ("norm", "age", "birth_date", "taken")}
    doubted = dict(zip(
        person_names, doubts(vectors, persons, nearest, merged, threshold, person_names, attributes), strict=True
    ))
    names = [person_names[person] for person in persons.tolist()]
    said = {
        "faces": len(faces), "threshold": float(threshold), "threshold_reason": reason, "highest_name": highest,
        "near_duplicates": len(gone), "rejected": len(dropped) - len(gone), "decisions": len(decisions),
        "kept_identities": len(set(names) & before.split.keys()),
    } | _doubts_said(doubted, Counter(names))
    given = faces["subject"].to_pylist()
    labelled = [row for row, subject in enumerate(given) if subject is not None]
    if labelled and not settings["labels"]:
        scores = pairwise_scores([names[row] for row in labelled], [given[row] for row in labelled])
        said |= dict(zip(("precision", "recall", "f1"), scores, strict=True)) | {"labelled_faces": len(labelled)}
    return Found(faces=faces, names=names, subjects=subjects, doubts=doubted, dropped=dropped, said=said)


def _embeddings(faces: pa.Table, looked: pa.Table | None) -> NDArray[np.float32]:
    """[N, D] in the table's order: its own embeddings, or another network's."""
    if looked is not None:
        places = pc.index_in(faces["face_id"], looked["face_id"].combine_chunks())
        if places.null_count:
            raise DataError("group: the clusterer's table lacks faces of the face table; run the stage again")
        source = looked["embedding"].take(places)
    else:
        source = faces["embedding"]
    values = source.combine_chunks().flatten().to_numpy()
    if not len(source) or len(values) % len(source):
        raise DataError("group: embeddings of different lengths; find the faces again with one embedder")
    return values.reshape(len(source), -1)


def _name(
    persons: NDArray[np.int64], known: Constraints, face_ids: Sequence[str], before: Previous, *, anew: bool
) -> tuple[list[str], int]:
    """The name of each person: the existing one, or the next that was never given; and the highest number given."""
    names: list[str | None] = [None] * (int(persons.max()) + 1)
    if anew:
        shared = Counter(
            (person, before.identity[face])
            for person, face in zip(persons.tolist(), face_ids, strict=True) if face in before.identity
        )
        used: set[str] = set()
        for (person, name), _ in sorted(shared.items(), key=lambda item: (-item[1], item[0][1], item[0][0])):
            if names[person] is None and name not in used:
                names[person] = name
                used.add(name)
    else:
        for person, group in zip(persons.tolist(), known.start.tolist(), strict=True):
            if known.name[group] >= 0:
                names[person] = known.names[known.name[group]]
    highest = before.highest
    result = []
    for given in names:
        highest += given is None
        result.append(given or f"p{highest:06d}")
    return result, highest


def _compared(faces: pa.Table) -> NDArray[np.int64]:
    """The rows whose nearest faces are looked for: all, but of a track only OF_TRACK, evenly spread over it. Its frames
    are each other's nearest, and would hide every other face of the person."""
    named = np.array(faces["track"].to_pylist(), np.str_)
    order = np.lexsort((faces["frame"].to_numpy(), named))
    chosen = [order[named[order] == ""]]
    order = order[len(chosen[0]):]
    for rows in np.split(order, np.flatnonzero(named[order][1:] != named[order][:-1]) + 1) if len(order) else ():
        chosen.append(rows[np.linspace(0, len(rows) - 1, min(OF_TRACK, len(rows))).astype(np.int64)])
    return np.sort(np.concatenate(chosen))


def _spread(near: Graph, rows: NDArray[np.int64], count: int) -> Graph:
    """A graph of some rows as one of all; the others have no neighbours."""
    spread = np.full((count, near.rows.shape[1]), -1)
    spread[rows] = np.where(near.rows >= 0, rows[near.rows], -1)
    cosines = np.full(spread.shape, -1, np.float32)
    cosines[rows] = near.cosines
    return Graph(rows=spread, cosines=cosines)


def _copies(faces: pa.Table, persons: NDArray[np.int64], nearest: Graph, crops: Crops) -> dict[int, int]:
    """Dropped row -> the better row that shows the same picture. Faces of a track stay, whatever they are like: a clip
    needs each of its frames."""
    hashes = faces["perceptual_hash"].to_numpy().astype(np.uint64)
    pairs = proposed(persons, nearest.rows, nearest.cosines, hashes)
    pairs = pairs[(np.array(faces["track"].to_pylist(), np.str_)[pairs] == "").all(axis=1)]
    if not len(pairs):
        return {}
    wanted = np.unique(pairs)
    face_ids, points = faces["face_id"].take(wanted).to_pylist(), faces["crop_landmarks"].take(wanted).to_pylist()
    row_of = dict(zip(face_ids, wanted.tolist(), strict=True))
    points_of = dict(zip(face_ids, points, strict=True))
    views = {
        row_of[face]: view(crop, points_of[face])
        for batch in crops(set(face_ids))
        for face, crop in zip(batch["face_id"].to_pylist(), batch["crop"].to_pylist(), strict=True)
    }
    same = [(one, two) for one, two in pairs.tolist() if same_picture(views[one], views[two])]
    boxes = dict(zip(wanted.tolist(), faces["box"].take(wanted).to_pylist(), strict=True))
    sharpness = dict(zip(wanted.tolist(), faces["sharpness"].take(wanted).to_pylist(), strict=True))
    better = {
        row: ((box[2] - box[0]) * (box[3] - box[1]), sharpness[row]) for row, box in boxes.items()
    }
    return copies(same, better)


def _part(nearest: Graph, stay: NDArray[np.int64]) -> Graph:
    """The graph of the rows that stay."""
    fresh = np.full(len(nearest.rows), -1)
    fresh[stay] = np.arange(len(stay))
    rows = nearest.rows[stay]
    return Graph(rows=np.where(rows >= 0, fresh[rows], -1), cosines=nearest.cosines[stay])


def _dropped(faces: pa.Table, rows: Iterable[int], cause: str, detail: str = "") -> list[Dropped]:
    chosen = faces.select(["uri", "number"]).take(pa.array(list(rows), pa.int64())).to_pylist()
    return [Dropped(stage="group", uri=row["uri"], row=row["number"], cause=cause, detail=detail) for row in chosen]


def _doubts_said(doubted: Mapping[str, Doubt], counts: Mapping[str, int]) -> dict[str, Any]:
    """Estimated purity over the faces of identities with several, identities by reason, and the suspicious ones."""
    several = [(counts[name], doubt.purity) for name, doubt in doubted.items() if counts[name] > 1]
    total = sum(count for count, _ in several)
    kinds = Counter(kind for doubt in doubted.values() for kind in {kind for _, kind, _ in doubt.reasons})
    ranked = sorted((name for name, doubt in doubted.items() if doubt.reasons), key=lambda n: (doubted[n].rank, n))
    purity = sum(count * share for count, share in several) / total if total else 1.0
    return {"purity": round(purity, 4), "doubts": dict(sorted(kinds.items())), "suspicious": ranked[:SUSPICIOUS]}
