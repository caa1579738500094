"""Real photographs, unsorted: nearly every portrait gives a face, and one person's photographs find each other."""

import pytest

from anchorface.pipelines.find_faces import find_faces
from anchorface.pipelines.group import group
from anchorface.pipelines.ingest import ingest
from anchorface.pipelines.stages.stage import dropped


@pytest.mark.line
def test_people_are_found_and_sorted(ray_session, shared_data, tmp_path, capsys):
    out = str(tmp_path / "out")
    photos = ingest(str(shared_data / "photos" / "people"), out, part_rows=64)
    counts = find_faces(out, detector="scrfd_2.5g_kps", crop_size=256)
    said = group(out, labels=False, clusterer="mobilefacenet_y1_ms1m_112")
    with capsys.disabled():
        print(f"\npeople: {counts['photos']} of {photos['photos']} photos give a face; precision "
              f"{said['precision']:.3f}, recall {said['recall']:.3f}, {said['identities']} identities "
              f"(threshold {said['threshold']:.2f}, {said['threshold_reason']})")
    missing = [row["uri"] for row in dropped(out).to_pylist() if row["stage"] == "find_faces" and row["row"] == -1]
    assert counts["photos"] >= 0.95 * photos["photos"], missing
    assert said["precision"] >= 0.95 and said["recall"] >= 0.95
