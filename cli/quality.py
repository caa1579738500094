"""Whether the embedding norm follows quality."""

from typing import Annotated

import typer
from rich.table import Table

from anchorface.cli.app import app, console, told
from anchorface.records.console import Console


@app.command()
@told
def norm(
    weights: Annotated[str, typer.Option(help="Embedder by name: see `anchorface doctor`.")] = "adaface_small",
    source: Annotated[
        str | None, typer.Option(help="A workspace or a folder of photographs; synthetic faces if not given.")
    ] = None,
    count: Annotated[int, typer.Option(help="Faces, at most.")] = 48,
    seed: Annotated[int, typer.Option(help="Other faces, other damage.")] = 0,
    out: Annotated[str | None, typer.Option(help="The calibration; beside the weights if not given.")] = None,
    plot: Annotated[str | None, typer.Option(help="Draw norms and qualities into this picture.")] = None,
) -> None:
    """Measure whether a network's embedding norm follows picture quality, and store the map from one to the other."""
    from anchorface.faces.quality import calibration_path
    from anchorface.pipelines.calibration.norm_calibration import calibrate_norm, draw_plot, ranks
    from anchorface.records.storage import require_writable, write_atomic

    place = out or str(calibration_path(weights))
    for uri in filter(None, (place, plot)):
        require_writable(uri)
    found, measured = calibrate_norm(weights, source=source, count=count, seed=seed)
    table = Table(
        "damage", "norm ~ strength", "face by face", "norm ~ PSNR", "norm ~ cosine", "sharpness ~ cosine",
        title=f"{found.weights}: rank correlations over {found.pictures:,} pictures of {found.faces} faces; "
              "+1 is a perfect measure",
    )
    for row in ranks(measured, [name for name, _ in found.plans]):
        values = (row.strength, row.within, row.psnr, row.cosine, row.sharpness_cosine)
        table.add_row(row.ladder, *("" if value != value else f"{value:+.2f}" for value in values))
    Console().print(table)
    verdict = "follows" if found.follows else "does not follow"
    Console().print(
        f"the norm {verdict} quality: rank correlation {found.held_out:.2f} on held-out faces (sharpness "
        f"{found.sharpness:.2f}), error {found.error:.3f} (one number for all: {found.flat_error:.3f})"
    )
    write_atomic(place, found.to_json().encode())
    console.print(f"calibration: {place}")
    if plot is not None:
        draw_plot(found, measured, plot)
        console.print(f"plot: {plot}")
