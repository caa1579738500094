"""Weight files: fetched, prepared, and handed on."""

from typing import Annotated

import typer

from anchorface.cli.app import app, console, told
from anchorface.records import ConfigurationError
from anchorface.records.storage import join, require_writable


@app.command(name="fetch")
@told
def fetch_weights(
    names: Annotated[list[str], typer.Argument(help="Weights (see `anchorface doctor`), or sets of them: `curate`, "
                                               "`evaluate`, `klein`, `buffalo_l`, `antelopev2`.")],
    accept_licence: Annotated[bool, typer.Option("--accept-licence", help="Fetch what is not for commercial use too: "
                                                 "you keep to its licence.")] = False,
) -> None:
    """Download weights from where their authors publish them, go on where a download was cut off, check what came."""
    from rich.progress import DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    from anchorface.faces.fetch import accept, fetch, wanted

    entries = wanted(names)
    for entry in entries:
        said = "; ".join(filter(None, (entry.licence, entry.note)))
        console.print(f"{entry.name}: {said}", highlight=False, soft_wrap=True)
    accept(entries, accept_licence)
    columns = TextColumn("{task.description}", markup=False), DownloadColumn(), TransferSpeedColumn()
    for entry in entries:
        with Progress(*columns, TimeRemainingColumn(), console=console, disable=bool(entry.hub)) as progress:
            task = progress.add_task(entry.name, total=None)
            place = fetch(entry, lambda have, whole, task=task, shown=progress: shown.update(  # type: ignore[misc]
                task, completed=have, total=whole))
        console.print(f"{entry.name}: {place}", highlight=False, soft_wrap=True)


@app.command()
@told
def prompt(
    out: Annotated[str, typer.Option(help="File; where the weight is looked for if not given.")] = "",
    text_encoder: Annotated[str, typer.Option(help="Folder; found by name if not given.")] = "",
    tokenizer: Annotated[str, typer.Option(help="Folder; found by name if not given.")] = "",
    words: Annotated[str, typer.Option(help="Another prompt than our own.")] = "",
    attributes: Annotated[bool, typer.Option("--attributes", help="What attributes mean, instead: the weight "
                                             "`flux2_klein_attributes`, for IP-FVR.")] = False,
    device: Annotated[str, typer.Option(help="cpu, cuda, ...")] = "cpu",
) -> None:
    """Embed the fixed restoration prompt for FLUX.2-klein once, so that its text encoder is not needed again."""
    from anchorface.faces import weights
    from anchorface.models.configuration import klein_4b
    from anchorface.models.ip_fvr.attribute_context import write_attributes
    from anchorface.models.prompt import RESTORATION_PROMPT, embed_attributes, embed_prompts, write_prompts

    name = "flux2_klein_attributes" if attributes else "flux2_klein_prompt"
    place = out or str(weights.cache() / f"{name}.safetensors")
    reader = (text_encoder or weights.find("flux2_klein_text_encoder"),
              tokenizer or weights.find("flux2_klein_tokenizer"))
    require_writable(place)
    if attributes:
        write_attributes(place, embed_attributes(*reader, device=device))
    else:
        said = words or RESTORATION_PROMPT
        write_prompts(place, embed_prompts(*reader, klein_4b().backbone, said, device=device), said)
    console.print(f"{name}: {place}")


@app.command()
@told
def export(
    checkpoint: Annotated[str, typer.Argument(help="A checkpoint folder.")],
    out: Annotated[str, typer.Argument(help="File, or folder for `merged`.")],
    form: Annotated[str, typer.Option(help="`adapter`, `lora` or `merged`.")] = "adapter",
    last: Annotated[bool, typer.Option("--last", help="The last weights instead of their moving average.")] = False,
) -> None:
    """Hand a trained model on: one adapter file, LoRA for other tools, or merged into its base."""
    from anchorface.faces import weights
    from anchorface.models.export import write_adapter_file, write_lora, write_merged
    from anchorface.restoration.erased import heed_erasures

    heed_erasures(checkpoint, "warn", console.print)
    require_writable(join(out, "adapter.safetensors") if form == "merged" else out)
    if form == "adapter":
        write_adapter_file(checkpoint, out, ema=not last)
    elif form == "lora":
        left_out = write_lora(checkpoint, out, ema=not last)
        console.print(f"left out, as no other tool knows them: {', '.join(left_out) or 'nothing'}")
    elif form == "merged":
        write_merged(checkpoint, out, weights.find, ema=not last)
    else:
        raise ConfigurationError(f"--form {form}: it is adapter, lora or merged")
    console.print(f"{form}: {out}")
