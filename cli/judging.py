"""Judging: tables with intervals, and a page."""

from typing import Annotated, Any

import typer

from anchorface.cli.app import ReferenceGuidance, Trust, app, console, told
from anchorface.records import ConfigurationError
from anchorface.records.storage import join, require_writable

NONE = "none"


@app.command()
@told
def evaluate(
    checkpoint: Annotated[str, typer.Argument(help="A checkpoint folder; `none` to judge --outputs alone.")],
    dataset: Annotated[
        str, typer.Argument(help="A dataset version; for a published --protocol or for films their folder.")
    ],
    out: Annotated[str, typer.Argument(help="Folder for rows, tables and the page.")],
    protocol: Annotated[
        str, typer.Option(help="own, ffhq-ref-moderate, ffhq-ref-severe, celeba-test-ref, celebhqref100, "
                               "ntire-2026-face, or films: a folder gt/ of true films, and what stands beside it.")
    ] = "own",
    outputs: Annotated[
        list[str] | None, typer.Option(help="NAME=FOLDER of what another program wrote; as often as needed.")
    ] = None,
    judge: Annotated[str, typer.Option(help="Judge network: neither in the anchor nor in the loss.")] = "",
    judges: Annotated[str, typer.Option(help="Further judges, with commas.")] = "",
    metrics: Annotated[
        str, typer.Option(help="Beside PSNR and SSIM, with commas: flip, lpips_alex, lpips_vgg, dists, landmarks, "
                               "niqe, fid_truth, kid_truth, fid_ffhq, musiq, clipiqa, maniqa, qalign; "
                               "`carried` or `all`.")
    ] = "",
    landmarks: Annotated[
        str, typer.Option(help="How faces are found in a folder: a detector by name, or `aligned` as FFHQ is.")
    ] = "scrfd_2.5g_kps",
    size: Annotated[int, typer.Option(help="px; 0: the checkpoint's, or 512 without one.")] = 0,
    inputs: Annotated[
        str, typer.Option(help="Write the protocol's inputs into this folder for another program, and do no more.")
    ] = "",
    profile: Annotated[str, typer.Option(help="Degradation profile.")] = "refldm-severe",
    clip_profile: Annotated[str, typer.Option(help="Degradation profile of films.")] = "video_call_clip",
    clip_length: Annotated[int, typer.Option(help="Of films: frames from the start of one clip to the next.")] = 24,
    count: Annotated[int, typer.Option(help="Pictures; 0: 100, or all of a published folder.")] = 0,
    split: Annotated[str, typer.Option(help="Split.")] = "test",
    history: Annotated[str | None, typer.Option(help="The run's progress.jsonl, for its curves.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of targets, references, plans and noise.")] = 0,
    steps: Annotated[int, typer.Option(help="Euler steps of a sample.")] = 12,
    guidance: Annotated[float, typer.Option(help="Classifier-free guidance; 1 is none.")] = 1.0,
    trust: Trust = None,
    reference_guidance: ReferenceGuidance = 1.0,
    input_guidance: Annotated[
        float | None, typer.Option(help="RG-IPFR's s_i: push along 'with minus without the degraded picture'.")
    ] = None,
    context_guidance: Annotated[
        float | None, typer.Option(help="RG-IPFR's s_c: push along the references, each shown alone.")
    ] = None,
    keep: Annotated[
        float | None, typer.Option(help="Share of the degraded face that stays; as the checkpoint measured if not "
                                        "given: more of better faces.")
    ] = None,
    precision: Annotated[str, typer.Option(help="fp32, or bf16: velocities under autocast.")] = "fp32",
    erased: Annotated[
        str, typer.Option(help="Where people whom the checkpoint saw were erased since: warn or refuse.")
    ] = "warn",
) -> None:
    """Judge a checkpoint and other programs' pictures on held-out people: tables with intervals, and a page."""
    from anchorface.evaluation import evaluate as judge_it
    from anchorface.evaluation import write_inputs, write_page
    from anchorface.evaluation.conditions import CONDITIONS
    from anchorface.evaluation.evaluate import frozen
    from anchorface.evaluation.films import evaluate_films, write_film_inputs, write_film_page
    from anchorface.evaluation.films.evaluate import NAME as FILMS
    from anchorface.evaluation.metrics import metric_names
    from anchorface.evaluation.outputs import named_folders
    from anchorface.evaluation.protocols.ntire import JUDGE, NAME, judge_ntire
    from anchorface.restoration import Restorer, SamplerSettings

    folders = named_folders(outputs or (), (condition.slug for condition in CONDITIONS))
    if protocol == FILMS:
        if checkpoint != NONE or not (folders or inputs):
            raise ConfigurationError(f"{FILMS} judges --outputs NAME=FOLDER alone: restore its films, and write "
                                     f"`{NONE}` for the checkpoint")
        if inputs:
            for row in write_film_inputs(dataset, inputs, profile=clip_profile, seed=seed, progress=console.print):
                console.print(f"dropped: {row.uri}: {row.cause}")
            console.print(f"inputs: {inputs}; outputs are to be named as the films in lq/, and judged against {inputs}")
            return
        evaluate_films(dataset, out, outputs=folders, judge=judge or "judge_small", metrics=metric_names(metrics),
                       clip=clip_length, landmarks=landmarks, seed=seed, device="auto", progress=console.print)
        console.print(f"page: {write_film_page(out, f'{out}/report.html')}")
        return
    if protocol == NAME:
        if checkpoint != NONE or not folders:
            raise ConfigurationError(f"{NAME} judges --outputs NAME=FOLDER alone: restore its pictures, and write "
                                     f"`{NONE}` for the checkpoint")
        judge_ntire(dataset, folders, out, judge=judge or JUDGE, progress=console.print)
        console.print(f"table: {out}/table.md")
        return
    common: dict[str, Any] = {
        "judge": judge or "judge_small", "published": protocol, "landmarks": landmarks, "profile": profile,
        "split": split, "seed": seed, "count": count or (None if protocol != "own" else 100),
    }
    if inputs:
        require_writable(join(inputs, "lq"))
        px = size or (512 if checkpoint == NONE else Restorer(checkpoint).size)
        source, what, _ = frozen(dataset, size=px, progress=console.print, **common)
        console.print(f"inputs: {write_inputs(source, what, inputs)}; outputs are to be named as the files in lq/")
        return
    settings = SamplerSettings(
        steps=steps, guidance=guidance, trust=trust, reference_guidance=reference_guidance,
        input_guidance=input_guidance, context_guidance=context_guidance, precision=precision, keep=keep,
    )
    judge_it(
        None if checkpoint == NONE else checkpoint, dataset, out, **common, outputs=folders,
        judges=[name for name in judges.split(",") if name], metrics=metric_names(metrics), size=size or None,
        settings=settings, device="auto", erased=erased, progress=console.print,
    )
    console.print(f"page: {write_page(out, dataset, f'{out}/report.html', history=history)}")
