"""What the identity anchor carries: a checkpoint's own anchor and references, each swapped and each taken away.

    python benchmarks/anchor.py DATASET CHECKPOINT [CHECKPOINT ...] [--judge judge_small] [--count 64]

Held-out faces of a dataset version, profile refldm-severe, are sampled with the same noise under conditions that no
command offers: three references and their anchor, the references with a stranger's anchor or with none, the anchor with
a stranger's references or with none. Told are the likeness to the truth and to the stranger (whose references or anchor
is shown), means with 95 % intervals, persons drawn with replacement, and how large the anchor's shifts are beside the
modulations that they are added to. Several checkpoints of a run show how that grew.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from keep import Images, shown, units

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from anchorface.evaluation import bootstrap, freeze
from anchorface.evaluation.cases import Case, cases
from anchorface.faces.embed import embedder
from anchorface.models.conditions import Conditions
from anchorface.models.flow import shift_schedule
from anchorface.models.sampler import sample
from anchorface.records.dataset import DatasetVersion
from anchorface.restoration import Restorer, SamplerSettings

SETTINGS, AT_ONCE, REFERENCES = SamplerSettings(precision="bf16", keep=0.0, trust=1.0), 16, 3
SHOWN: dict[str, tuple[str, str]] = {
    "references and anchor": ("own", "own"), "references, a stranger's anchor": ("own", "stranger"),
    "references alone": ("own", "none"), "anchor alone": ("none", "own"),
    "a stranger's anchor alone": ("none", "stranger"), "a stranger's references, own anchor": ("stranger", "own"),
    "a stranger's both": ("stranger", "stranger"), "neither (the face's own embedding)": ("none", "degraded"),
}
"""What is shown -> whose references, whose anchor."""


def asked(restorer: Restorer, part: Sequence[Case], whose: Sequence[Case]) -> Conditions:
    """What the network is told of some cases with references of others."""
    return restorer.asked(np.stack([case.degraded for case in part]), [shown(case) for case in whose],
                          np.stack([case.target.landmarks for case in part]), SETTINGS).given


@torch.no_grad()
def pictures(restorer: Restorer, part: Sequence[Case], others: Sequence[Case]) -> dict[str, Images]:
    """uint8 [N, S, S, 3] under each name of SHOWN."""
    told = {"own": asked(restorer, part, part), "stranger": asked(restorer, part, others)}
    degraded = np.stack([case.degraded for case in part])
    landmarks = np.stack([case.target.landmarks for case in part])
    alone = restorer.asked(degraded, [()] * len(part), landmarks, SETTINGS)
    identities = {name: given.identity for name, given in told.items()} | {
        "none": None, "degraded": alone.given.identity}
    made = {}
    for name, (references, anchor) in SHOWN.items():
        given = replace(told.get(references, alone.given), identity=identities[anchor])
        noise = restorer.noise([case.row.seed for case in part], given.degraded)
        tokens = sample(restorer.velocity(replace(alone, given=given), SETTINGS), noise, restorer.levels(SETTINGS))
        made[name] = restorer.decode(tokens, alone.images, None)
    return made


@torch.no_grad()
def shifts(restorer: Restorer, held: Sequence[Case]) -> str:
    """The anchor's shifts beside FLUX.2's modulations, root mean squares over the steps of a sampling."""
    network = restorer.network
    identity = asked(restorer, held, held).identity
    levels = shift_schedule(SETTINGS.steps, restorer.settings.tokens_per_side**2)[:-1]
    embedded = network.backbone.time_guidance_embed(1000 * levels, None)
    said, modulations = [], {"double": network.backbone.double_stream_modulation_img,
                             "single": network.backbone.single_stream_modulation}
    for (name, modulation), delta in zip(modulations.items(), network.identity_anchor(identity), strict=True):
        base = modulation(embedded)
        said.append(f"{name} {delta.square().mean().sqrt() / base.square().mean().sqrt():.3f}, of which apart between "
                    f"persons {delta.std(dim=0).square().mean().sqrt() / base.square().mean().sqrt():.3f}")
    return "; ".join(said)


def main() -> None:
    """Print a table for each checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", help="a dataset version; its split `test` is shown")
    parser.add_argument("checkpoints", nargs="+")
    parser.add_argument("--judge", default="judge_small")
    parser.add_argument("--count", type=int, default=64)
    options = parser.parse_args()
    torch.set_num_threads(1)
    judge, version = embedder(options.judge), DatasetVersion.open(options.dataset)
    for checkpoint in options.checkpoints:
        restorer = Restorer(checkpoint)
        protocol = freeze(version, judge=options.judge, size=restorer.size, count=options.count, references=REFERENCES)
        every = list(cases(version, protocol))
        pairs = [(case, every[other]) for case, other in zip(every, protocol.strangers, strict=True)
                 if other is not None and len(case.row.references) == len(every[other].row.references) == REFERENCES]
        held, others = [case for case, _ in pairs], [other for _, other in pairs]
        who = [case.row.identity for case in held]

        truth, stranger = (units(judge, [case.target.image for case in of], of) for of in (held, others))
        found: dict[str, list[Any]] = {name: [] for name in SHOWN}
        for start in range(0, len(held), AT_ONCE):
            part = slice(start, start + AT_ONCE)
            for name, images in pictures(restorer, held[part], others[part]).items():
                found[name] += list(images)
        print(f"\n{checkpoint}, {len(held)} pictures of {len(set(who))} people, judge {options.judge}\n\nshifts "
              f"beside modulations: {shifts(restorer, held[:AT_ONCE])}\n\n| shown | likeness to the truth | to the "
              "stranger |\n| --- | --- | --- |")
        for name, images in found.items():
            seen = units(judge, images, held)
            told = [bootstrap((seen * of).sum(1), who) for of in (truth, stranger)]
            cells = [f"{one.mean:.3f} ({one.low:.3f} to {one.high:.3f})" for one in told if one is not None]
            print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
