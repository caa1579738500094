"""What the demo says where the photographs are few."""

import pytest

from anchorface.demo import enough
from anchorface.records import DataError


def found(faces: int, people: int, single: int, judged: int) -> dict[str, int]:
    """What `group` says."""
    return {"faces": faces, "identities": people, "single_faces": single, "train_identities": people - judged,
            "test_identities": judged}


@pytest.mark.parametrize(("faces", "people", "single", "judged"), [(40, 40, 40, 16), (41, 40, 39, 16), (40, 1, 0, 0)])
def test_photographs_of_too_few_people_are_told_the_least(faces: int, people: int, single: int, judged: int) -> None:
    several = people - single
    with pytest.raises(DataError, match=f"people: {people}, of whom {several} with several.*two photographs each"):
        enough(found(faces, people, single, judged), None)


def test_one_persons_photographs_taken_for_many_peoples_bring_the_better_network_to_mind() -> None:
    with pytest.raises(DataError, match="extra `dlib`"):
        enough(found(40, 40, 40, 16), None)
    with pytest.raises(DataError) as told:
        enough(found(40, 40, 40, 16), "dlib_resnet_v1")
    assert "dlib" not in str(told.value), "it is taken already"
    few, better = enough(found(20, 14, 10, 5), None)
    assert "too few to measure" in few and "extra `dlib`" in better
    (better,) = enough(found(190, 109, 80, 43), None)
    assert "extra `dlib`" in better
    (said,) = enough(found(20, 8, 1, 3), None)
    assert "too few to measure" in said and "dlib" not in said
    assert enough(found(200, 60, 2, 24), None) == []
