"""What is known about who is who besides the looks: given labels, photographs, tracks, dates, decisions, existing
identities.

In: the rows of a face table. Out: `Constraints`: groups of faces that are one person already, and for each group what
forbids it to be joined with another. All of them are pairwise rules that only grow when groups join, so that
clustering may join pairs in any order.

What wins over what: a later decision over an earlier one, decisions over tracks, tracks over given labels, labels over
existing identities, and all of these over photographs and dates.

    photographs     two faces of one photograph are two persons
    tracks          faces of one track are one person, of the label that most of them have; none where most have none
    labels          faces of one label are one person; two labels are two persons
    existing        faces of one existing identity stay together; two existing identities are never joined by looks, but
                    by a decision, a label or a track
    dates           two birth dates are two persons; nobody is photographed before being born; the years of birth that
                    faces allow (date taken less age, give or take the tolerance) must overlap. A date that cannot be
                    believed (records.dates), or lies before the birth that is said of the same person, says nothing
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from anchorface.records.dates import believable
from anchorface.records.errors import DataError
from anchorface.records.nouns import Decision

GIVEN_TOLERANCE = 6.0
"""Years by which a given age and the date taken may miss the year of birth (our choice: labels are often rounded)."""
ESTIMATED_TOLERANCE = 20.0
"""The same for a network's age, which errs by 6 to 8 years on average (our choice: contradicts only strongly)."""
YEAR = 365.2425
SEEN = 1024
COLUMNS = ("face_id", "photo_id", "track", "subject", "birth_date", "taken", "age", "age_source")
"""The columns of a face that constraints read."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Constraints:
    """Faces in groups that start as one person; groups are numbered by their first face id.

    face_ids: N. start: int64 [N], each face's group. label, name: int64 [G], number into `labels` (given or decided)
    and `names` (existing identities), -1 for none. born_low, born_high: float [G], years in which the person can have
    been born; infinite where unknown. taken: float [G], year of the earliest photograph. apart: group -> marks; two
    groups that share a mark are never one person. Years count as years since 1970.
    """

    face_ids: tuple[str, ...]
    start: NDArray[np.int64]
    label: NDArray[np.int64]
    name: NDArray[np.int64]
    labels: tuple[str, ...]
    names: tuple[str, ...]
    born_low: NDArray[np.float64]
    born_high: NDArray[np.float64]
    taken: NDArray[np.float64]
    apart: Mapping[int, frozenset[int]]

    def __len__(self) -> int:
        return len(self.face_ids)

    @property
    def possible(self) -> float:
        """Share of the pairs of faces that labels and years allow to be one person, told by up to SEEN of them; at
        least that of one pair."""
        rows = np.linspace(0, len(self.start) - 1, min(len(self.start), SEEN)).astype(np.int64)
        if len(rows) < 2:
            return 1.0
        one, two = np.triu_indices(len(rows), 1)
        one, two = self.start[rows][one], self.start[rows][two]
        low, high = np.maximum(self.born_low[one], self.born_low[two]), np.minimum(self.born_high[one],
                                                                                   self.born_high[two])
        allowed = (low <= high) & (np.minimum(self.taken[one], self.taken[two]) >= low)
        allowed &= (self.label[one] < 0) | (self.label[two] < 0) | (self.label[one] == self.label[two])
        return max(float(allowed.mean()), 1.0 / len(one))

    def merged(self, persons: NDArray[np.int64]) -> "Constraints":
        """The constraints of the persons that the groups became; existing identities no longer count.

        Args:
            persons: int64 [N], each face's person, 0 to P - 1.
        """
        count = int(persons.max()) + 1 if len(persons) else 0
        person = np.empty(len(self.label), np.int64)
        person[self.start] = persons
        label, taken = np.full(count, -1), np.full(count, np.inf)
        low, high = np.full(count, -np.inf), np.full(count, np.inf)
        np.maximum.at(label, person, self.label)
        np.minimum.at(taken, person, self.taken)
        np.maximum.at(low, person, self.born_low)
        np.minimum.at(high, person, self.born_high)
        apart: dict[int, set[int]] = defaultdict(set)
        for group, marks in self.apart.items():
            apart[int(person[group])].update(marks)
        return Constraints(
            face_ids=self.face_ids, start=persons, label=label, name=np.full(count, -1), labels=self.labels, names=(),
            born_low=low, born_high=high, taken=taken, apart={g: frozenset(m) for g, m in apart.items()},
        )


def constraints(
    faces: pa.Table, *, labels: bool = True, decisions: Iterable[Decision] = (),
    existing: Mapping[str, str] | None = None,
) -> Constraints:
    """Everything that is known of the faces of a table.

    Args:
        faces: `face_id`, `photo_id` and whatever else of COLUMNS is there, in any order.
        labels: whether given subjects count.
        decisions: in order of number; their faces that are not in the table are passed over.
        existing: face id -> name of the identity that it has already.

    Raises:
        DataError: a face id given twice, or a decision that makes faces of two given labels one person.
    """
    columns = {name: faces[name].to_pylist() for name in COLUMNS if name in faces.column_names}
    face_ids = columns["face_id"]
    twice = [name for name, times in Counter(face_ids).items() if times > 1]
    if twice:
        raise DataError(f"cluster: face id {twice[0]} stands in more than one row; face ids must be unique")
    sets = _Sets(face_ids)
    split_off = _decide(sets, decisions)
    order = sorted(range(len(face_ids)), key=face_ids.__getitem__)
    subjects = columns.get("subject") or [None] * len(face_ids)
    for rows in _tracks(columns.get("track", ()), order):
        sets.gather(sorted(rows, key=split_off.__contains__))
        (usual, _), = Counter(subjects[row] for row in rows).most_common(1)
        for row in rows:
            subjects[row] = usual
    if labels:
        _label(sets, order, subjects, split_off)
    _keep(sets, [existing.get(face) for face in face_ids] if existing else [], order, split_off)
    return _freeze(sets, order, columns)


def known(
    face_ids: Sequence[str], photo_ids: Sequence[str], subjects: Sequence[str | None] | None = None
) -> Constraints:
    """Constraints from photographs and labels alone.

    Raises:
        DataError: columns of different lengths, or a face id given twice.
    """
    lengths = {"photo ids": len(photo_ids), "subjects": len(face_ids) if subjects is None else len(subjects)}
    for what, length in lengths.items():
        if length != len(face_ids):
            raise DataError(f"cluster: {length} {what} for {len(face_ids)} face ids; one per face is needed")
    given = [None] * len(face_ids) if subjects is None else list(subjects)
    columns = {"face_id": list(face_ids), "photo_id": list(photo_ids), "subject": given}
    return constraints(pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()}))


class _Sets:
    """Disjoint sets of faces that know their label, their enemies and the existing identity they hold."""

    def __init__(self, face_ids: Sequence[str]) -> None:
        self.face_ids = face_ids
        self.row = {face: number for number, face in enumerate(face_ids)}
        self.parent = list(range(len(face_ids)))
        self.label: dict[int, str] = {}
        self.decided: set[int] = set()
        self.name: dict[int, str] = {}
        self.enemies: dict[int, set[int]] = defaultdict(set)

    def root(self, face: int) -> int:
        while self.parent[face] != face:
            self.parent[face] = self.parent[self.parent[face]]
            face = self.parent[face]
        return face

    def join(self, one: int, two: int) -> bool:
        """Make two sets one; False where something stronger keeps them apart."""
        first, second = self.root(one), self.root(two)
        if first == second:
            return True
        labels = {self.label[each] for each in (first, second) if each in self.label}
        if len(labels) > 1 or second in self.enemies.get(first, ()):
            return False
        first, second = sorted((first, second), key=lambda each: self.face_ids[each])
        self.parent[second] = first
        if second in self.label:
            self.label[first] = self.label.pop(second)
        if second in self.decided:
            self.decided.add(first)
        names = [self.name.pop(each) for each in (first, second) if each in self.name]
        if names:
            self.name[first] = min(names)
        for enemy in self.enemies.pop(second, ()):
            self.enemies[enemy] = (self.enemies[enemy] - {second}) | {first}
            self.enemies[first].add(enemy)
        return True

    def keep_apart(self, one: int, two: int) -> None:
        """From now on two sets are two persons, unless they are one already."""
        first, second = self.root(one), self.root(two)
        if first != second:
            self.enemies[first].add(second)
            self.enemies[second].add(first)

    def gather(self, faces: Iterable[int]) -> None:
        """Join as many of the faces as may be: each with the first that takes it."""
        heads: list[int] = []
        for face in faces:
            if not any(self.join(head, face) for head in heads):
                heads.append(face)


def _decide(sets: _Sets, decisions: Iterable[Decision]) -> set[int]:
    """Carry out the decisions, the latest first, so that no earlier one can undo it. Returns the rows split off."""
    split_off: set[int] = set()
    node: dict[str, int] = {}
    for decision in sorted(decisions, key=lambda each: -each.number):
        rows = [sets.row[face] for face in sorted(decision.face_ids) if face in sets.row]
        if decision.kind in ("merge", "split"):
            sets.gather(rows)
        if decision.kind == "split":
            split_off.update(rows)
            for other in decision.others:
                for row in rows:
                    if other in sets.row:
                        sets.keep_apart(row, sets.row[other])
        if decision.kind == "label" and decision.label is not None:
            for row in rows:
                head = sets.root(row)
                if sets.label.setdefault(head, decision.label) == decision.label:
                    sets.decided.add(head)
                    sets.join(node.setdefault(decision.label, row), row)
    return split_off


def _tracks(tracks: Sequence[str], order: Sequence[int]) -> list[list[int]]:
    """The rows of each track; faces that no decision parts are its one person."""
    members: dict[str, list[int]] = defaultdict(list)
    for row in order if tracks else ():
        if tracks[row]:
            members[tracks[row]].append(row)
    return [rows for _, rows in sorted(members.items())]


def _label(sets: _Sets, order: Sequence[int], subjects: Sequence[str | None], split_off: set[int]) -> None:
    """Given labels: one set each. What a decision split off comes last, so that the others keep the label."""
    node: dict[str, int] = {}
    said: dict[int, str] = {}
    for row in order:
        subject, head = subjects[row], sets.root(row)
        if subject is None or head in sets.decided:
            continue
        if said.setdefault(head, subject) != subject:
            raise DataError(
                f"decisions make faces of two given labels, {said[head]!r} and {subject!r}, one person "
                f"({sets.face_ids[row]} among them); label these faces by a decision, or correct the given labels"
            )
    for head in sorted(head for head in sets.decided if sets.root(head) == head):
        node.setdefault(sets.label[head], head)
    for last in (False, True):
        for row in order:
            subject, head = subjects[row], sets.root(row)
            if subject is None or head in sets.decided or (row in split_off) != last:
                continue
            if head not in sets.label and not (subject in node and not sets.join(node[subject], row)):
                sets.label[sets.root(row)] = subject
                node.setdefault(subject, row)


def _keep(sets: _Sets, names: Sequence[str | None], order: Sequence[int], split_off: set[int]) -> None:
    """Existing identities stay together as far as decisions and labels allow; the largest part keeps the name."""
    members: dict[str, list[int]] = defaultdict(list)
    for row in order if names else ():
        if (name := names[row]) is not None:
            members[name].append(row)
    for name, rows in sorted(members.items()):
        parts: dict[int, list[int]] = defaultdict(list)
        for row in rows:
            parts[sets.root(row)].append(row)
        heads = sorted(parts, key=lambda head: (
            not split_off.isdisjoint(parts[head]), -len(parts[head]), sets.face_ids[parts[head][0]]))
        first = heads[0]
        for head in heads[1:]:
            sets.join(first, head)
        first = sets.root(first)
        sets.name[first] = min(name, sets.name.get(first, name))


def _freeze(sets: _Sets, order: Sequence[int], columns: Mapping[str, list[Any]]) -> Constraints:
    number: dict[int, int] = {}
    start = np.empty(len(order), np.int64)
    for row in order:
        start[row] = number.setdefault(sets.root(row), len(number))
    count = len(number)
    label, labels = _numbers({number[head]: value for head, value in sets.label.items() if head in number}, count)
    name, names = _numbers({number[head]: value for head, value in sets.name.items() if head in number}, count)
    low, high = np.full(count, -np.inf), np.full(count, np.inf)
    born_low, born_high, taken = _years(columns, len(order))
    np.maximum.at(low, start, born_low)
    np.minimum.at(high, start, born_high)
    # Faces that are one person although their dates disagree forbid nothing by dates.
    contradicts = low > high
    low[contradicts], high[contradicts] = -np.inf, np.inf
    earliest = np.full(count, np.inf)
    np.minimum.at(earliest, start, np.where(taken < low[start], np.inf, taken))
    apart: dict[int, set[int]] = defaultdict(set)
    marks = 0
    photos: dict[str, list[int]] = defaultdict(list)
    for row in order:
        photos[columns["photo_id"][row]].append(row)
    for rows in photos.values():
        groups = {int(start[row]) for row in rows}
        if len(groups) > 1:
            for group in groups:
                apart[group].add(marks)
            marks += 1
    for head in sorted(sets.enemies):
        for enemy in sorted(sets.enemies[head]):
            if head < enemy:
                apart[number[head]].add(marks)
                apart[number[enemy]].add(marks)
                marks += 1
    return Constraints(
        face_ids=tuple(columns["face_id"]), start=start, label=label, name=name, labels=labels, names=names,
        born_low=low, born_high=high, taken=earliest, apart={g: frozenset(m) for g, m in apart.items()},
    )


def _numbers(values: Mapping[int, str], count: int) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    words = tuple(sorted(set(values.values())))
    place = {word: number for number, word in enumerate(words)}
    result = np.full(count, -1, np.int64)
    for group, word in values.items():
        result[group] = place[word]
    return result, words


def _years(columns: Mapping[str, list[Any]], count: int) -> tuple[NDArray[np.float64], ...]:
    """Earliest and latest year of birth that each face allows, and the year it was taken in, since 1970."""
    low, high, taken = np.full(count, -np.inf), np.full(count, np.inf), np.full(count, np.inf)
    births, days = columns.get("birth_date") or [None] * count, columns.get("taken") or [None] * count
    ages, sources = columns.get("age") or [None] * count, columns.get("age_source") or ["unknown"] * count
    for row, (birth, day, age, source) in enumerate(zip(births, days, ages, sources, strict=True)):
        day = believable(day)
        if day is not None and (birth is None or birth <= day):
            taken[row] = _year(day)
        if birth is not None:
            low[row] = high[row] = _year(birth)
        elif day is not None and age is not None:
            tolerance = GIVEN_TOLERANCE if source == "given" else ESTIMATED_TOLERANCE
            low[row], high[row] = taken[row] - age - tolerance, taken[row] - age + tolerance
    return low, high, taken


def _year(day: date) -> float:
    return (day - date(1970, 1, 1)).days / YEAR
