"""Which photographs help which."""

import json
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from anchorface.cli.app import app, console, told
from anchorface.records import ConfigurationError, DataError
from anchorface.records.console import Console
from anchorface.records.storage import exists, join, require_writable, write_atomic, write_table

if TYPE_CHECKING:
    import pyarrow as pa

    from anchorface.identity_index import MismatchPolicy
    from anchorface.identity_index.retrieval.report import AxisReport, RetrievalReport


@app.command()
@told
def references(
    data: Annotated[str, typer.Argument(help="A workspace, or a dataset version.")],
    mode: Annotated[str, typer.Option(help="`asked` shares of gaps, `mismatch` (large gaps), or `random`.")] = "asked",
    k: Annotated[int, typer.Option("--k", help="References for each target.")] = 3,
    count: Annotated[int, typer.Option(help="Targets, drawn evenly; 0 for all faces.")] = 2000,
    setting: Annotated[
        list[str] | None, typer.Option("--set", help="key=value of the policy, say yaw_asked=[0.1,0.2,0.3,0.3,0.1].")
    ] = None,
    fit: Annotated[
        bool, typer.Option("--fit", help="Draw hard bins more often, so that the achieved shares come nearer.")
    ] = False,
    plot: Annotated[str, typer.Option(help="Write the shares as a picture, PNG.")] = "",
    out: Annotated[str, typer.Option(help="Write every choice and its reason, .parquet or .csv.")] = "",
    target: Annotated[str, typer.Option(help="A face id: choose for this face alone.")] = "",
    sheet: Annotated[str, typer.Option(help="With --target: the face beside its references, JPEG.")] = "",
    seed: Annotated[int, typer.Option(help="Other seeds, other targets and choices.")] = 0,
) -> None:
    """Choose references by a policy: asked against achieved gaps, and whom nothing can help."""
    from anchorface.identity_index.retrieval.fit_shares import fit_shares
    from anchorface.identity_index.retrieval.report import retrieval_report

    policy = _policy(mode, setting or ())
    for uri in filter(None, (plot, out, sheet)):
        require_writable(uri)
    faces, crops = _faces(data)
    if fit:
        policy = fit_shares(faces, policy, k=k, seed=seed)
        drawn = json.dumps({name: [round(share, 6) for share in shares] for name, shares in policy.drawn})
        console.print(f"fitted: --set 'drawn={drawn}' (in a recipe: feed.policy.drawn)", soft_wrap=True,
                      highlight=False)
    if target:
        _one(faces, crops, target, policy, k, seed, sheet)
        return
    report = retrieval_report(faces, policy, k=k, count=count, seed=seed)
    _tell(report)
    if plot:
        from anchorface.identity_index.retrieval.plot import reference_plot

        write_atomic(plot, reference_plot(report))
    if out.endswith(".csv"):
        write_atomic(out, report.rows.to_pandas().to_csv(index=False).encode())
    elif out:
        write_table(out, report.rows)


def _policy(mode: str, words: Sequence[str]) -> "MismatchPolicy":
    """The policy of a mode with some fields replaced.

    Raises:
        ConfigurationError: an unknown key or mode, or values that do not fit.
    """
    from anchorface.identity_index import MismatchPolicy
    from anchorface.identity_index.retrieval.policy import asked_policy

    known = {field.name for field in fields(MismatchPolicy)}
    values: dict[str, Any] = {"mode": mode}
    for text in words:
        key, _, value = text.partition("=")
        if key not in known:
            raise ConfigurationError(f"--set {text}: no such key of a reference policy; known are "
                                     f"{', '.join(sorted(known))}")
        try:
            values[key] = json.loads(value)
        except json.JSONDecodeError as error:
            raise ConfigurationError(f"--set {text}: write key=value, the value as in JSON") from error
    own_asked = any(key.endswith("_asked") for key in values)
    start = asked_policy() if mode == "asked" and not own_asked else MismatchPolicy()
    return replace(start, **values)


def _faces(data: str) -> tuple["pa.Table", Callable[[Sequence[str]], dict[str, bytes]]]:
    """The faces of a workspace or a dataset version, and how to read their crops.

    Raises:
        DataError: neither is there.
    """
    from anchorface.identity_index import IdentityIndex
    from anchorface.identity_index.retrieval.mismatch import REFERENCE_KEYS
    from anchorface.records.dataset import DatasetVersion

    if exists(join(data, "index", "faces.lance")):
        index = IdentityIndex.open(join(data, "index"))
        there = set(index.columns)
        return index.faces([name for name in (*REFERENCE_KEYS, "identity") if name in there]), index.crops
    if exists(join(data, "manifest.json")) or exists(join(data, "latest")):
        version = DatasetVersion.open(data)
        return version.faces, lambda names: {name: version.crop_bytes(version.row(name)) for name in names}
    raise DataError(f"{data}: neither a workspace with an index (`anchorface curate` makes one) nor a dataset version")


def _one(faces: "pa.Table", crops: Callable[[Sequence[str]], dict[str, bytes]], target: str, policy: "MismatchPolicy",
         k: int, seed: int, sheet: str) -> None:
    """One face's references, told and drawn."""
    from anchorface.identity_index.retrieval.report import choose_for

    identity, chosen, refused = choose_for(faces, target, policy, k=k, seed=seed)
    table = Table("reference", "why", title=f"{target} ({identity})")
    for one in chosen:
        table.add_row(one.face_id, one.reason)
    Console().print(table if chosen else f"{target} ({identity}): no admissible reference")
    Console().print("refused: " + (", ".join(f"{number} {cause}" for cause, number in refused) or "none"))
    if sheet:
        from anchorface.degradation.sheet import Cell
        from anchorface.degradation.sheet import sheet as drawn
        from anchorface.faces.images import decode_jpeg, encode_jpeg

        jpegs = crops([target, *(one.face_id for one in chosen)])
        cells = [Cell(image=decode_jpeg(jpegs[target]), title="target", text=f"{target}, {identity}")]
        cells += [Cell(image=decode_jpeg(jpegs[one.face_id]), title=f"reference {rank}", text=one.reason)
                  for rank, one in enumerate(chosen, start=1)]
        write_atomic(sheet, encode_jpeg(drawn(cells, columns=min(len(cells), 6)), 92))


def _tell(report: "RetrievalReport") -> None:
    """The report as tables."""
    screen = Console()
    table = Table("axis", "bin", "asked", "achieved", "at random", "targets with any",
                  title=f"{report.references} references for {report.targets} targets, mode {report.policy.mode}")
    for axis in report.axes:
        for place, one in enumerate(axis.bins):
            table.add_row(axis.name if place == 0 else "", one.bin, "" if one.asked is None else f"{one.asked:.1%}",
                          f"{one.achieved:.1%}", f"{one.random:.1%}", f"{one.reachable:.1%}",
                          end_section=place == len(axis.bins) - 1)
    screen.print(table)
    means = Table("axis", "mean", "at random", "unknown", "wanted bin met", "off the asked shares", "at random")
    for axis in report.axes:
        means.add_row(axis.name, *_means(report, axis))
    screen.print(means)
    middle = report.admissible
    screen.print(f"admissible references of a target: {int(middle[0])} to {int(middle[-1])}, median "
                 f"{int(middle[len(middle) // 2])}; {float((middle >= report.k).mean()):.1%} of targets have "
                 f"{report.k} or more")
    if report.diversity is not None and report.random_diversity is not None:
        screen.print(f"mismatch between two references of one target: {report.diversity:.2f}, at random "
                     f"{report.random_diversity:.2f}")
    screen.print("refused pairs: " + (", ".join(f"{n} {cause}" for cause, n in report.refused) or "none"))
    why = "; ".join(f"{number} {cause}" for cause, number in report.without)
    screen.print(f"targets without any reference: {report.none} of {report.targets}" + (f" ({why})" if why else ""))


def _means(report: "RetrievalReport", axis: "AxisReport") -> list[str]:
    words = next(one for one in report.policy.axes if one.name == axis.name)
    if axis.mean is None or axis.random_mean is None:
        return ["", "", f"{axis.unknown:.1%}", "", "", ""]
    return [words.told(axis.mean), words.told(axis.random_mean), f"{axis.unknown:.1%}",
            "" if axis.met is None else f"{axis.met:.1%}", "" if axis.apart is None else f"{axis.apart:.1%}",
            "" if axis.random_apart is None else f"{axis.random_apart:.1%}"]
