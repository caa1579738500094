"""The report: one static HTML file with everything inside, no outside reference, readable from a mail attachment.

In: an evaluation folder (evaluation.evaluate), the dataset version or folder it was made on, and, where there are any,
a run's history and the dropped table. Out: the file.
"""

from collections.abc import Sequence
from html import escape
from typing import Any

import pyarrow as pa

from anchorface.evaluation import page_data, page_pictures, page_results, page_sides
from anchorface.evaluation.album import AlbumPicture
from anchorface.evaluation.page_style import STYLE
from anchorface.evaluation.protocol import Protocol
from anchorface.evaluation.sources import FaceFolder, Source, open_source
from anchorface.evaluation.tables import columns
from anchorface.records import DROPPED_SCHEMA, storage
from anchorface.records.state import read_state


def write_page(folder: str, dataset_uri: str, out: str, *, history: str | None = None, dropped: pa.Table | None = None,
               title: str = "", shown: int = 8, worst: int = 4, album: Sequence[AlbumPicture] = ()) -> str:
    """Write the report of one evaluation.

    Args:
        folder: what `evaluate` wrote. dataset_uri: the dataset version or folder. out: the HTML file to write.
        history: CSV, JSON or JSON lines of the training run, with a `positions` or `step` column.
        dropped: rows of DROPPED_SCHEMA. title: a name for the run.
        shown: pictures in the main grid. worst: pictures in each of the two worst-case grids.
        album: pictures that come first, of `restore_worst`.

    Returns:
        out.

    Raises:
        DataError, StorageError: a file is missing or damaged.
    """
    table = _json(storage.join(folder, "table.json"))
    protocol = Protocol.from_json(storage.read_bytes(storage.join(folder, "protocol.json")).decode())
    source = open_source(dataset_uri, protocol.policy)
    rows = storage.read_table(storage.join(folder, "rows.parquet"))
    gallery = page_pictures.Gallery.open(folder, protocol, source, table["conditions"])
    sections = [
        ("album", "Album", _album(album)),
        ("pictures", "Pictures", _pictures(gallery, shown)),
        ("table", "Table", _table(table)),
        ("sides", "Both sides", page_sides.sides(table)),
        ("copying", "Copying", page_results.copying(table, rows)),
        ("fidelity", "Sample or mean", _fidelity(table, gallery)),
        ("worst", "Worst and median cases", _worst(gallery, worst)),
        ("training", "Training", _training(history)),
        ("data", "Data", _data(source, protocol, dropped, table)),
        ("cases", "Cases", f"<h2>Every case</h2>{page_pictures.explained(gallery)}"),
        ("protocol", "Protocol", _protocol(table, protocol)),
    ]
    sections = [(key, name, content) for key, name, content in sections if content]
    head, lead = page_results.headline(table)
    links = "".join(f'<a href="#{key}">{name}</a>' for key, name, _ in sections)
    body = "".join(f'<section id="{key}">{content}</section>' for key, _, content in sections)
    name = escape(title) if title else "evaluation"
    page = (f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>anchorface · {name}</title>'
            f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{STYLE}</style></head><body>'
            f'<header><div class="brand">anchorface · {name}</div><h1>{escape(head)}</h1><p class="lead">{lead}</p>'
            f"{page_results.tiles(table)}<nav>{links}</nav></header>{body}"
            f'<footer>Made by anchorface from protocol <span class="hash">{table["protocol_id"]}</span> on dataset '
            f'version <span class="hash">{table["manifest_id"]}</span>. This file stands alone.</footer></body></html>')
    storage.write_atomic(out, page.encode())
    return out


def _album(pictures: Sequence[AlbumPicture]) -> str:
    if not pictures:
        return ""
    return ("<h2>Your album</h2><p>The worst picture of people in it, the smallest or least sharp one, as it is and "
            "restored with their best ones. Nobody knows the truth here, so nothing is measured; the tables below are "
            f"of pictures that were made worse on purpose. Shown at {len(pictures[0].after)} px, the side of what this "
            f"restorer makes.</p>{page_pictures.album(pictures)}")


def _pictures(gallery: page_pictures.Gallery, shown: int) -> str:
    return ("<h2>What it does</h2><p>The protocol's first pictures, chosen before anything was restored. On the left: "
            "how each reference differs from the truth. Below a picture: likeness to the truth, then PSNR.</p>"
            + page_pictures.grid(gallery, page_pictures.first(gallery, shown)))


def _table(table: dict[str, Any]) -> str:
    return ("<h2>Likeness, condition by condition</h2><p>Filled dots: likeness to the truth. Hollow dots: likeness to "
            "the first reference. Whiskers: 95 % intervals over people.</p>"
            f'<div class="wide">{page_results.interval_chart(table)}</div>{page_results.results_table(table)}'
            f"{page_results.comparisons(table)}")


def _fidelity(table: dict[str, Any], gallery: page_pictures.Gallery) -> str:
    if not any(c["fidelity"] == 1.0 for c in table["conditions"]):
        return ""
    grid = page_pictures.grid(gallery, page_pictures.first(gallery, 3), page_pictures.ESTIMATES, show_references=False)
    return ('<div class="two"><div><h2>Sample or mean estimate?</h2><p>A sampler draws one plausible face, with crisp '
            "detail that may differ from the truth; the one-step mean estimate is the average of all plausible faces: "
            "smoother, and usually nearer pixel by pixel. The fidelity dial goes from one to the other.</p>"
            f"</div><figure>{page_results.trade_off(table)}</figure></div>{grid}")


def _worst(gallery: page_pictures.Gallery, worst: int) -> str:
    name = dict(gallery.columns).get(gallery.shown, "")
    parts = [f"<h2>Where it fails</h2><p>Cases are chosen by the results of <b>{escape(name)}</b>.</p>"]
    if numbers := page_pictures.least_gained(gallery, worst):
        parts += ["<h3>Least likeness gained over the degraded input</h3>", page_pictures.grid(gallery, numbers)]
    if numbers := page_pictures.most_copied(gallery, worst):
        parts += ["<h3>Nearest to copying: the likeness to the reference exceeds the truth's own</h3>",
                  page_pictures.grid(gallery, numbers)]
    if numbers := page_pictures.median(gallery, worst):
        parts += ["<h3>Median cases, by likeness to the truth</h3>", page_pictures.grid(gallery, numbers),
                  "<h3>One over the other</h3><p class=note>The worst and the median case. Drag the lower right corner "
                  "of the upper picture.</p>",
                  page_pictures.sliders(gallery, [*page_pictures.least_gained(gallery, 1), *numbers[:1]])]
    return "".join(parts) if len(parts) > 1 else ""


def _training(history: str | None) -> str:
    if history is None:
        return ""
    charts = page_data.training_curves(page_data.read_history(history))
    return f"<h2>How it was trained</h2><p>Pale: every logged value; strong: running mean.</p>{charts}"


def _data(dataset: Source, protocol: Protocol, dropped: pa.Table | None, table: dict[str, Any]) -> str:
    if isinstance(dataset, FaceFolder):
        missing = pa.Table.from_pylist(table.get("dropped", []), schema=DROPPED_SCHEMA)
        return (f"<h2>The data</h2><p>Files of the folder as published, protocol {escape(protocol.name)}.</p>"
                f"<h3>What could not be judged, and why</h3>{page_data.dropped_summary(missing)}")
    return (f"<h2>The data</h2>{page_data.counts(dataset)}{page_data.data_plots(dataset, protocol)}"
            "<h3>How far references lie from their targets</h3><p>References are chosen by mismatch: the same person, "
            "but at another pose, age or time. The further they lie, the less can simply be copied.</p>"
            f"{page_data.reference_gaps(dataset, protocol)}<h3>What was dropped, and why</h3>"
            f"{page_data.dropped_summary(dropped)}")


def _protocol(table: dict[str, Any], protocol: Protocol) -> str:
    checkpoint = table.get("checkpoint") or {}
    settings = table.get("settings") or {}
    shown = [len(row.references) for row in protocol.rows]
    facts = [
        ("Protocol", f'<span class="hash">{table["protocol_id"]}</span> (protocol.json, frozen before restoring)'),
        ("Dataset version", f'<span class="hash">{table["manifest_id"]}</span>, split {escape(protocol.split)}'),
        ("Judged", f"{table['rows']} pictures of {table['identities']} people, {protocol.size} px, on average "
                   f"{sum(shown) / len(shown):.1f} references each"),
        ("Degradation", f"profile {escape(protocol.profile)}, one stored plan per picture; seed {protocol.seed}"),
        ("Judge", _weight(table["judge"]) + (" – neither in the anchor nor in the loss" if checkpoint else "")),
        *(("Further judge", _weight(judge)) for judge in table.get("judges", [])[1:]),
        ("Anchor" if table.get("loss_embedder") else "Anchor and loss", _weight(table["embedder"])),
        *((("Loss", _weight(table["loss_embedder"])),) if table.get("loss_embedder") else ()),
        ("Checkpoint", ", ".join(f"{escape(str(k))} <span class=hash>{escape(str(v))}</span>"
                                 for k, v in checkpoint.items()) or "not stated"),
        ("Sampler", ", ".join(f"{escape(k)} {v}" for k, v in settings.items() if k != "fidelity") or "none ran"),
        *((f"Outputs: {escape(name)}", escape(of["folder"])) for name, of in table.get("outputs", {}).items()),
        ("Alignment", "all pictures of a row are cut with the clean target's landmarks"),
        ("Intervals", "bootstrap, 4000 draws of people with replacement, 2.5 to 97.5 percentile"),
        ("Reference policy", ", ".join(f"{escape(k)} {escape(str(v))}" for k, v in protocol.policy.items())),
    ]
    facts += [(f"Column: {escape(m.label)}", f'<span class="absent">no numbers: {escape(m.absent)}</span>' if m.absent
               else escape(m.source)) for m in columns(table) if m.absent or m.source]
    body = "".join(f"<tr><td>{name}</td><td>{value}</td></tr>" for name, value in facts)
    return f'<h2>How to repeat it</h2><div class="wide"><table class="left"><tbody>{body}</tbody></table></div>'


def _weight(weight: dict[str, str]) -> str:
    return f'{escape(weight["name"])} <span class="hash">{weight["sha256"][:16]}</span>'


def _json(uri: str) -> dict[str, Any]:
    return read_state(uri, dict[str, Any])
