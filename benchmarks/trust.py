"""What do references bring, and a wrong person's cost, when they are believed as far as they look like the face?

    python benchmarks/trust.py CHECKPOINT DATASET [--judge judge_small] [--count 96] [--measure VERSION] [--out FOLDER]

Held-out faces of a dataset version, degraded by refldm-severe, restored without references, with three of their own and
with three of a stranger: as the network does it by itself (plain), with references believed as far as the checkpoint's
trust says (models.trust), which is what `restore` does, and pushed along them as well (models.sampler.guided).
`--measure VERSION` measures the trust on a dataset version, as a run on it would at its end, for a checkpoint that
carries none. Values are means with 95 % intervals, persons drawn with replacement; differences are paired, picture by
picture.
"""

import argparse
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from anchorface.evaluation import CONDITIONS, evaluate
from anchorface.models.trust import Trust
from anchorface.records.storage import read_table
from anchorface.restoration import Restorer, SamplerSettings
from anchorface.training import trust
from anchorface.training.networks import load_networks
from anchorface.training.recipes import recipe
from anchorface.training.validation import Validation
from benchmarks.ablation import Values, told

PUSH = 1.35
WAYS = {
    "plain": SamplerSettings(precision="bf16", trust=1.0),
    "believed, the default": SamplerSettings(precision="bf16"),
    "believed and pushed": SamplerSettings(precision="bf16", reference_guidance=PUSH),
}
SHOWN = tuple(condition for condition in CONDITIONS if condition.slug in ("without", "three", "stranger"))


def measured(version: str) -> Trust | None:
    """What a run of `iconface_tiny` on a version measures at its end; its own network is not asked."""
    made, device = recipe("iconface_tiny"), torch.device("cpu")
    return trust.measured(Validation(made, load_networks(made, device), version, device))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint")
    parser.add_argument("dataset", help="a dataset version; its split `test` is shown")
    parser.add_argument("--judge", default="judge_small")
    parser.add_argument("--count", type=int, default=96)
    parser.add_argument("--out", default="runs/trust")
    parser.add_argument("--measure", default="")
    options = parser.parse_args()
    torch.set_num_threads(1)
    restorer = Restorer(options.checkpoint)
    if options.measure:
        restorer.trust = measured(options.measure)
    for name, settings in WAYS.items():
        evaluate(options.checkpoint, options.dataset, str(Path(options.out, name)), judge=options.judge,
                 count=options.count, restorer=restorer, conditions=SHOWN, settings=settings)
    print(f"{options.checkpoint}: {restorer.trust}\n{options.dataset}, judge {options.judge}\n")
    print("| | with three | gain | copy rate | surplus | PSNR | pulled to the own first reference | to the stranger, "
          "shown strangers | likeness that strangers take |\n| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for name in WAYS:
        def of(condition: str, measure: str = "judge_target", name: str = name) -> Values:
            rows = read_table(str(Path(options.out, name, "rows.parquet"))).to_pylist()
            return {row["number"]: (row["identity"], float(row[measure])) for row in rows
                    if row["condition"] == condition and row[measure] is not None}

        cells = [told(of("three")), told(of("three"), of("without")), told(of("three", "copied")),
                 told(of("three", "surplus")), told(of("three", "psnr"), digits=2),
                 told(of("three", "judge_first"), of("without", "judge_first")),
                 told(of("stranger", "judge_stranger"), of("without", "judge_stranger")),
                 told(of("stranger"), of("without"))]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
