"""A frozen protocol is the same bytes for the same arguments, and fair."""

import dataclasses
from collections import Counter

import numpy as np
import pytest

from anchorface.degradation import Plan
from anchorface.evaluation import Protocol, freeze
from anchorface.evaluation.cases import cases
from anchorface.records import ConfigurationError, DataError
from anchorface.records.dataset import DatasetVersion

SIZE = 64


def frozen(dataset: DatasetVersion, **changes: object) -> Protocol:
    return freeze(dataset, **{"judge": "judge_small", "size": SIZE, "count": 6, **changes})


def test_same_arguments_same_bytes(dataset_uri: str) -> None:
    first, second = (frozen(DatasetVersion.open(dataset_uri)) for _ in range(2))
    assert first.to_json() == second.to_json() and first.protocol_id == second.protocol_id
    assert frozen(DatasetVersion.open(dataset_uri), seed=1).protocol_id != first.protocol_id


def test_json_gives_the_protocol_back(dataset: DatasetVersion) -> None:
    protocol = frozen(dataset)
    assert Protocol.from_json(protocol.to_json()) == protocol
    for text in ("", "[]", "{}", protocol.to_json().replace('"format": 1', '"format": 9')):
        with pytest.raises(DataError):
            Protocol.from_json(text)


def test_nobody_of_the_training_side_is_judged(dataset: DatasetVersion) -> None:
    protocol = frozen(dataset, count=99)
    learned = {row["identity"] for row in dataset.rows("train")}
    for row in protocol.rows:
        assert row.identity not in learned
        for face_id in (row.target, *row.references):
            assert dataset.row(face_id)["split"] == "test" and dataset.row(face_id)["identity"] == row.identity


def test_references_are_other_photographs_and_carry_reasons(dataset: DatasetVersion) -> None:
    for row in frozen(dataset).rows:
        assert 1 <= len(row.references) <= 3 and len(row.reasons) == len(row.references)
        assert row.target not in row.references and len(set(row.references)) == len(row.references)


def test_every_person_is_judged_once_before_anyone_twice(dataset: DatasetVersion) -> None:
    protocol = frozen(dataset, count=4)
    assert Counter(row.identity for row in protocol.rows) == {row.identity: 2 for row in protocol.rows}
    assert len({row.target for row in protocol.rows}) == 4 and len({row.seed for row in protocol.rows}) == 4


def test_plans_replay_to_the_same_pixels(dataset: DatasetVersion) -> None:
    protocol = frozen(dataset, count=3)
    one, two = list(cases(dataset, protocol)), list(cases(dataset, Protocol.from_json(protocol.to_json())))
    for a, b in zip(one, two, strict=True):
        assert Plan.from_json(a.row.plan).profile == "refldm-severe"
        np.testing.assert_array_equal(a.degraded, b.degraded)
        assert np.abs(a.degraded.astype(int) - a.target.image).mean() > 2
        assert a.target.landmarks.min() > 0 and a.target.landmarks.max() < SIZE


def test_the_judge_must_not_be_the_network_that_was_trained_against(dataset: DatasetVersion) -> None:
    with pytest.raises(ConfigurationError, match="adaface_small"):
        frozen(dataset, judge="adaface_small")


def test_another_dataset_version_is_refused(dataset: DatasetVersion) -> None:
    foreign = dataclasses.replace(frozen(dataset), manifest_id="0" * 16)
    with pytest.raises(DataError, match="version"):
        list(cases(dataset, foreign))


def test_an_unknown_split_is_named(dataset: DatasetVersion) -> None:
    with pytest.raises(DataError, match="holiday"):
        frozen(dataset, split="holiday")
