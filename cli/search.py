"""Who is in a photograph."""

from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from anchorface.cli.app import Workspace, app, told
from anchorface.records.console import Console

if TYPE_CHECKING:
    from anchorface.faces.embed import Embedder
    from anchorface.identity_index import IdentityIndex
    from anchorface.identity_index.recognition import Probes

CALIBRATED = 128
"""Faces of the index that are degraded to learn what scores of such photographs mean."""


@app.command()
@told
def who(
    photo: Annotated[str, typer.Argument(help="A photograph.")],
    workspace: Workspace,
    top: Annotated[int, typer.Option(help="How many persons for each face.")] = 5,
    detector: Annotated[str, typer.Option(help="Face detector by name: see `anchorface doctor`.")] = "default",
    prior: Annotated[float, typer.Option(help="How likely a person is in the index at all, 0 to 1.")] = 0.5,
    degraded: Annotated[
        str, typer.Option(help="Degradation profile like the photograph's damage, to judge poor photographs fairly.")
    ] = "",
) -> None:
    """The likely persons for each face of a photograph, with how sure that is."""
    import numpy as np

    from anchorface.faces.align import arcface_matrix, warp
    from anchorface.faces.detect import Detector
    from anchorface.faces.embed import embedder
    from anchorface.faces.images import read_photo
    from anchorface.identity_index import IdentityIndex
    from anchorface.identity_index.recognition import calibrate_recognition, recognise
    from anchorface.records.errors import PhotoError
    from anchorface.records.storage import join

    index = IdentityIndex.open(join(workspace, "index"))
    network = embedder(next(index.batches(["embedder"]))["embedder"][0].as_py())
    pixels = read_photo(photo)[0]
    looking = Detector(detector)
    found = looking.detect([pixels])[0]
    if not found:
        raise PhotoError("no face found", photo, f"by {looking.name}; try another --detector")
    vectors = network.embed(np.stack([warp(pixels, arcface_matrix(face.landmarks), 112) for face in found]))[0]
    calibration = calibrate_recognition(
        index, probes=_probes(index, network, degraded) if degraded else None, prior=prior)
    for number, (face, vector) in enumerate(zip(found, vectors, strict=True)):
        likely = recognise(index, vector, calibration=calibration, top=top)
        subjects = _subjects(index, [one.identity for one in likely])
        x0, y0, x1, y1 = (round(float(value)) for value in face.box)
        table = Table("identity", "subject", "probability", "cosine", "false match rate", "nearest face",
                      title=f"face {number} at {x0}, {y0} to {x1}, {y1}", title_justify="left")
        for one in likely:
            table.add_row(one.identity, subjects.get(one.identity, ""), f"{one.probability:.1%}", f"{one.cosine:.3f}",
                          f"{one.false_match_rate:.2g}", one.face_id)
        table.add_row("somebody else", "", f"{1 - sum(one.probability for one in likely):.1%}", "", "", "")
        Console().print(table)


def _subjects(index: "IdentityIndex", identities: list[str]) -> dict[str, str]:
    names = ", ".join("'" + name.replace("'", "''") + "'" for name in identities)
    rows = index.faces(["identity", "subject"], f"subject IS NOT NULL AND identity IN ({names})").to_pylist()
    return {row["identity"]: row["subject"] for row in rows}


def _probes(index: "IdentityIndex", network: "Embedder", profile: str) -> "Probes":
    """Faces of the index made worse, evenly spread over it."""
    import numpy as np

    from anchorface.degradation import apply, draw
    from anchorface.faces.align import arcface_matrix, warp
    from anchorface.faces.images import decode_jpeg
    from anchorface.identity_index.recognition import Probes
    from anchorface.records import rng

    rows = index.faces(["face_id", "crop_size", "crop_landmarks"]).sort_by("face_id")
    rows = rows.take(np.unique(np.linspace(0, len(rows) - 1, CALIBRATED).astype(np.int64)))
    chosen = rows.to_pylist()
    crops = index.crops([row["face_id"] for row in chosen])
    small = []
    for number, row in enumerate(chosen):
        plan = draw(profile, rng(0, "who", number), row["crop_size"])
        worse = apply(decode_jpeg(crops[row["face_id"]]), plan)
        small.append(warp(worse, arcface_matrix(np.reshape(row["crop_landmarks"], (5, 2))), 112))
    return Probes(embeddings=network.embed(np.stack(small))[0], face_ids=tuple(row["face_id"] for row in chosen))
