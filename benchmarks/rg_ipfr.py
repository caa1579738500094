"""What carries RG-IPFR? Its loss, its context, the number of references, and what a wrong one costs, at tiny size.

    python benchmarks/rg_ipfr.py [--folder runs/ablation] [--samples 18432] [--runs hard:0,plain:0,...] [--print]

Trains `rg_ipfr_tiny` on the people of `benchmarks/ablation.py` (whose datasets in the same folder it takes) once per
row and seed, two processes of one thread at a time, and judges each on people whom no run saw. A run that was stopped
goes on where it was; the rows of those that ended are kept (benchmarks.kept), and `--print` prints what stands.

    hard            composite context, hard-example identity loss
    plain           the same with the identity loss to the target alone (lambda 0)
    none            the same without an identity loss
    identity        the identity token alone as context
    concatenation   reference tokens in the sequence, no context
    both            hard with IConFace's pathways switched on beside the context

Each is judged without references, with one and three, and with three of a stranger; the first seed of `hard` also with
two, four and five. References are shown one at a time with the recipe's scales.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from anchorface.evaluation import CONDITIONS, Condition, evaluate, freeze
from anchorface.records.dataset import DatasetVersion
from anchorface.restoration import Restorer, SamplerSettings
from anchorface.training.execution import Execution
from anchorface.training.launch import train
from anchorface.training.recipes import Recipe, recipe
from benchmarks.ablation import JUDGES, Judged, Values, command, minus, told, values
from benchmarks.kept import KEPT

SYSTEM, HARD = "model.system.", "losses.hard_example."
ROWS: dict[str, dict[str, Any]] = {
    "hard": {},
    "plain": {f"{HARD}share": 0.0},
    "none": {f"{HARD}weight": 0.0},
    "identity": {f"{SYSTEM}context": "identity", "face_encoder": ""},
    "concatenation": {f"{SYSTEM}context": "none", "face_encoder": "", f"{SYSTEM}concatenation": True},
    "both": {f"{SYSTEM}identity_anchor": True, f"{SYSTEM}residual": True, f"{SYSTEM}memory": "two",
             f"{SYSTEM}concatenation": True},
}
RUNS = ("hard:0", "plain:0", "identity:0", "concatenation:0", "hard:1", "plain:1", "hard:2", "plain:2", "none:0",
        "both:0", "identity:1", "concatenation:1")
PREFIX = "rg-"
MOST = 5
MORE = tuple(Condition(slug=word, label=f"with {word} references", kind="restored", references=number)
             for number, word in ((2, "two"), (4, "four"), (5, "five")))
SHOWN = tuple(c for c in CONDITIONS if c.slug in ("degraded", "without", "one", "three", "stranger"))
ORDER = ("without", "one", "two", "three", "four", "five", "stranger")


def made_by(row: str, seed: int, samples: int) -> Recipe:
    """What a run is trained by."""
    return recipe("rg_ipfr_tiny", positions=samples, cooldown=samples * 2 // 3, **ROWS[row], **{"feed.seed": seed})


def one_run(folder: Path, row: str, seed: int, made: Recipe) -> Judged:
    """Train one row with one seed, and judge it."""
    versions, out = json.loads((folder / "datasets.json").read_text()), folder / "runs" / f"{PREFIX}{row}-{seed}"
    checkpoint = train(made, versions["train"], out / "run", Execution(workers=0, threads=1), track=False)
    restorer = Restorer(checkpoint)
    shown = (*SHOWN, *MORE) if (row, seed) == ("hard", 0) else SHOWN
    for name, (judge, count) in JUDGES.items():
        protocol = freeze(DatasetVersion.open(versions[name]), judge=judge, size=restorer.size, count=count,
                          references=MOST)
        evaluate(checkpoint, versions[name], str(out / name), protocol=protocol, restorer=restorer, conditions=shown,
                 settings=SamplerSettings(precision="bf16", trust=1.0))
    return {name: out / name for name in JUDGES}, {}


def tables(kept: Path = KEPT, print_: Callable[[str], None] = print) -> None:
    """Everything that was judged so far, as Markdown."""
    for place, (judge, _) in JUDGES.items():
        def of(row: str, condition: str, measure: str = "judge_target", where: str = place) -> Values | None:
            return values(kept, f"{PREFIX}{row}", where, condition, measure)

        print_(f"\n### {place}, judge {judge}: degraded input {told(of('hard', 'degraded'))}\n")
        print_("| row | without references | one | three | gain of three | copy rate, three | surplus, three | PSNR, "
               "three |")
        print_("| --- | --- | --- | --- | --- | --- | --- | --- |")
        for row in ROWS:
            if (three := of(row, "three")) is not None:
                cells = [told(of(row, "without")), told(of(row, "one")), told(three),
                         told(three, of(row, "without")), told(of(row, "three", "copied")),
                         told(of(row, "three", "surplus")), told(of(row, "three", "psnr"), digits=2)]
                print_(f"| {row} | {' | '.join(cells)} |")
        print_("\n| references of `hard` | likeness to the truth | to the first reference | copy rate | surplus |")
        print_("| --- | --- | --- | --- | --- |")
        for shown in ORDER:
            cells = [told(of("hard", shown, m)) for m in ("judge_target", "judge_first", "copied", "surplus")]
            print_(f"| {shown} | {' | '.join(cells)} |")
        minus(print_, of, tuple(ROWS), "hard")


if __name__ == "__main__":
    command(__file__, __doc__, RUNS, made_by, one_run, tables, 18_432, PREFIX)
