"""Pictures made better or worse."""

import json
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from anchorface.cli.app import ReferenceGuidance, Trust, app, console, told
from anchorface.records import ConfigurationError
from anchorface.records.storage import join, require_writable


@app.command()
@told
def restore(
    checkpoint: Annotated[str, typer.Argument(help="A checkpoint folder.")],
    photos: Annotated[str, typer.Argument(help="Folder of photographs and films.")],
    out: Annotated[str, typer.Argument(help="Folder for the restored ones.")],
    references: Annotated[
        str | None, typer.Option(help="Folder of good photographs; references/NAME/* go to the file NAME.")
    ] = None,
    detector: Annotated[str, typer.Option(help="Face detector by name: see `anchorface doctor`.")] = "default",
    faces: Annotated[str, typer.Option(help="`all`, or `largest` for the largest face alone.")] = "all",
    steps: Annotated[int, typer.Option(help="Euler steps.")] = 12,
    guidance: Annotated[float, typer.Option(help="Guidance; 1 is none.")] = 1.0,
    input_guidance: Annotated[
        float | None, typer.Option(help="RG-IPFR's s_i; the checkpoint's system decides if not given.")
    ] = None,
    context_guidance: Annotated[
        float | None, typer.Option(help="RG-IPFR's s_c, of references shown one at a time; likewise.")
    ] = None,
    trust: Trust = None,
    reference_guidance: ReferenceGuidance = 1.0,
    fidelity: Annotated[float, typer.Option(help="0: a sample, sharp; 1: the mean estimate, cautious.")] = 0.0,
    keep: Annotated[
        float | None, typer.Option(help="Share of the degraded face that stays; as the checkpoint measured if not "
                                        "given: more of better faces.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed; a photograph's name and this decide its noise.")] = 42,
    without: Annotated[
        list[str] | None,
        typer.Option(help="What the face has not, say beard, glasses or artefacts, or beard=0.5 for half the push; or "
                          "low_quality. IP-FVR."),
    ] = None,
    age: Annotated[
        str, typer.Option(help="Age of the face in years, or `references`: as a network sees it in them. IP-FVR.")
    ] = "",
    context_scales: Annotated[
        tuple[float, float] | None, typer.Option(help="How much of references and of attributes is heard. IP-FVR.")
    ] = None,
    clip_length: Annotated[
        int | None, typer.Option(help="Frames of a film restored at once; the checkpoint decides if not given.")
    ] = None,
    overlap: Annotated[int | None, typer.Option(help="Frames that neighbouring clips share; a sixth of them.")] = None,
    beta: Annotated[
        float | None, typer.Option(help="How fast the clip before loses its say in them; large: at once.")
    ] = None,
    erased: Annotated[
        str, typer.Option(help="Where people whom the checkpoint saw were erased since: `warn` or `refuse`.")
    ] = "warn",
) -> None:
    """Restore the faces of photographs and films, with zero or more references."""
    from anchorface.faces.detect import Detector
    from anchorface.restoration import Restorer, SamplerSettings, restore_folder
    from anchorface.restoration.erased import heed_erasures
    from anchorface.restoration.sampler_settings import said

    heed_erasures(checkpoint, erased, console.print, out)
    require_writable(join(out, "restored.parquet"))
    counts = restore_folder(
        Restorer(checkpoint, device="auto"), photos, out, detector=Detector(detector), references=references,
        faces=faces, seed=seed, progress=console.print, clip_length=clip_length, overlap=overlap, beta=beta,
        settings=SamplerSettings(
            steps=steps, guidance=guidance, input_guidance=input_guidance, context_guidance=context_guidance,
            trust=trust, reference_guidance=reference_guidance, fidelity=fidelity, keep=keep,
            context_scales=context_scales,
            **said(without or (), age)),
    )
    console.print(", ".join(f"{number} {name}" for name, number in counts.items()) + f" → {out}")


@app.command()
@told
def degrade(
    sources: Annotated[list[str] | None, typer.Argument(help="Pictures, films, or folders of them.")] = None,
    out: Annotated[str, typer.Option(help="Folder for the results; running it again does what is left.")] = "degraded",
    profile: Annotated[str, typer.Option(help="Degradation profile for pictures: see the --page.")] = "gfpgan",
    clip_profile: Annotated[str, typer.Option(help="Degradation profile for films.")] = "video_call_clip",
    seed: Annotated[int, typer.Option(help="Other seeds, other damage.")] = 0,
    count: Annotated[int, typer.Option(help="Versions of each file.")] = 1,
    size: Annotated[int, typer.Option(help="Cut to the middle square and resize to so many px first; 0: do not.")] = 0,
    overrides: Annotated[
        list[str] | None, typer.Option(help="range=numbers instead of the profile's own, say jpeg.quality=[30,60].")
    ] = None,
    albumentations: Annotated[
        str, typer.Option(help="A serialised pipeline of albumentations 2.0.8 (.json, .yaml): how pictures look before "
                               "the profile makes them worse.")
    ] = "",
    plans_in: Annotated[str, typer.Option(help="A plans.jsonl to carry out instead of drawing plans.")] = "",
    plans_out: Annotated[str, typer.Option(help="Where the plans go; OUT/plans.jsonl if not given.")] = "",
    page: Annotated[str, typer.Option(help="Write a page of every profile over one face, and do no more.")] = "",
) -> None:
    """Make good pictures and films worse: results, the plans that made them, and a contact sheet."""
    from anchorface.degradation.appearance import Appearance
    from anchorface.degradation.files import Settings, degrade_files
    from anchorface.degradation.page import write_page
    from anchorface.degradation.plan_lines import digest_of, read_plans
    from anchorface.faces.images import read_photo
    from anchorface.synthetic import State, identity, render

    for uri in filter(None, (page, plans_out)):
        require_writable(uri)
    if page:
        face = render(identity(seed), State(yaw=12, smile=0.4, background=seed), 512).image
        console.print(f"page: {write_page(page, face, seed=seed)}")
        return
    if not sources:
        raise ConfigurationError("degrade: name the pictures, films or folders, or a --page")
    given = read_plans(plans_in) if plans_in else None
    settings = Settings(
        profile=profile, clip_profile=clip_profile, seed=seed, size=size, overrides=_ranges(overrides or ()),
        appearance=Appearance.read(albumentations).text if albumentations else "",
        plans=digest_of(given) if given is not None else "",
    )
    counts = degrade_files(
        sources, out, read=lambda uri: read_photo(uri)[0], settings=settings, count=count, plans=given,
        plans_out=plans_out, progress=console.print,
    )
    console.print(", ".join(f"{number} {name}" for name, number in counts.items()) + f" → {out}")


def _ranges(words: Sequence[str]) -> tuple[tuple[str, Any], ...]:
    """`range=numbers`, the numbers as in JSON.

    Raises:
        ConfigurationError: one that is not.
    """
    found = {}
    for text in words:
        key, _, numbers = text.partition("=")
        try:
            found[key] = json.loads(numbers)
        except json.JSONDecodeError as error:
            raise ConfigurationError(f"--overrides {text}: write range=numbers, say jpeg.quality=[30,60]") from error
    return tuple(sorted(found.items(), key=lambda pair: pair[0]))
