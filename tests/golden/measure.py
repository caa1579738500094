"""What the golden test compares: the same numbers, measured now.

    python -m tests.golden.measure [FOLDER]     writes values.json and samples.npz anew, or into a folder

`dataset/` is a dataset version of seven synthetic persons. `run/` is a run of the micro recipe after five of its ten
steps, `checkpoint/` a checkpoint on random base weights that stand beside it; both were written at commit 5d57d75, the
run in the layout of that time, and name the dataset and the embedder's file of now. The numbers are those of commit
b9ca692 with the carried networks of now: with these, that commit's code and the present one's gave the same bits.
"""

import hashlib
import json
import platform
import shutil
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from anchorface.faces.weights import find
from anchorface.models.backbone import TextMemory, build_backbone
from anchorface.models.build import build
from anchorface.models.conditions import Conditions
from anchorface.models.configuration import tiny
from anchorface.models.weights import load
from anchorface.pipelines.feed.batches import batches, global_digest
from anchorface.pipelines.feed.settings import FeedSettings
from anchorface.records import rng
from anchorface.restoration import Reference, Restorer, SamplerSettings
from anchorface.training.checkpoints.layout import latest
from anchorface.training.execution import Execution
from anchorface.training.launch import train
from anchorface.training.recipes import Recipe, recipe
from tests.forked import Forked, finished

HERE = Path(__file__).resolve().parent
DATASET = str(HERE / "dataset")
RUN, CHECKPOINT = HERE / "run", HERE / "checkpoint"
STEPS, BATCH = 10, 4


def machine() -> str:
    """What decides the last bits of a product of matrices."""
    names = [line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
             if line.startswith("model name")] if Path("/proc/cpuinfo").exists() else []
    return f"{torch.__version__}, {torch.backends.cpu.get_cpu_capability()}, {(names or [platform.processor()])[0]}"


def sha(tensors: dict[str, Tensor]) -> str:
    """One hash of named tensors."""
    total = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        total.update(name.encode() + tensor.detach().contiguous().numpy().tobytes())
    return total.hexdigest()


def norms(tensors: dict[str, Tensor]) -> dict[str, float]:
    """Length of each tensor, for machines that round otherwise."""
    return {name: float(tensor.double().norm()) for name, tensor in sorted(tensors.items())}


def forward_passes() -> dict[str, Tensor]:
    """Velocities [2, 64, 128] of the tiny model, all adapters away from their start: with two references, without any,
    without an identity, and under autocast."""
    settings = tiny()
    backbone = build_backbone(settings.backbone, seed=5)
    model = build(settings.system, backbone, seed=6)
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in model.trainable_parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    scene, degraded, *references = (torch.randn(2, 64, 128, generator=generator) for _ in range(4))
    sigma, identity = torch.tensor([0.3, 0.9]), torch.randn(2, 256, generator=generator)
    identity = torch.nn.functional.normalize(identity, dim=-1)
    text = TextMemory.fixed(settings.backbone)(2)
    given = Conditions(text=text, degraded=degraded, references=tuple(references), identity=identity)
    with torch.no_grad():
        found = {
            "two references": model(scene, sigma, given),
            "no reference": model(scene, sigma, given.without_references(identity)),
            "no identity": model(scene, sigma, replace(given, identity=None)),
        }
        with torch.autocast("cpu", torch.bfloat16):
            found["bfloat16"] = model(scene, sigma, given).float()
    return found


def micro_recipe() -> Recipe:
    """Ten steps of fresh networks at 32 px, every pathway small."""
    from tests.restoration.micro import micro_settings

    return Recipe(
        name="golden", model=micro_settings(32), autoencoder="", backbone="", positions=STEPS * BATCH,
        learning_rate=1e-2, warmup=8,
        feed=FeedSettings(dataset="", batch=BATCH, profile="refldm-severe", flip=True,
                          reference_count_probabilities=(0.25, 0.25, 0.25, 0.25)),
        ema_half_life=16, checkpoint_every=STEPS // 2 * BATCH, log_every=BATCH, grid_every=0,
    )


def tiny_recipe() -> Recipe:
    """Ten steps of the demo's recipe, with the rate and the weight that it had then, on the carried base."""
    return recipe("iconface_tiny", **{
        "positions": STEPS * 2, "feed.batch": 2, "warmup": 4, "cooldown": 8, "log_every": 2, "grid_every": 0,
        "checkpoint_every": STEPS * 2, "ema_half_life": 16, "validation.every": 0, "learning_rate": 1e-3,
        "losses.identity.weight": 0.3})


def run(what: str, folder: Path) -> None:
    """One of the two runs, to its end in `folder`."""
    chosen, micro_batch = {"micro": (micro_recipe, 2), "tiny": (tiny_recipe, 0)}[what]
    train(chosen(), DATASET, folder, Execution(workers=0, threads=1, micro_batch=micro_batch), track=False,
          report=lambda line: None)


def trained(folder: Path) -> dict[str, Any]:
    """The losses of each step of a run that ended in `folder`, and its adapters and averages."""
    found = latest(str(folder))
    assert found is not None
    last = Path(found)
    lines = [json.loads(line) for line in (folder / "progress.jsonl").read_text().splitlines()]
    parts = ("loss", "flow", "identity", "identity_cosine", "sigma")
    losses = [{part: line[part] for part in parts if part in line} for line in lines if "loss" in line]
    adapters, averages = (load(last / f"{name}.safetensors")[0] for name in ("adapter", "ema"))
    return {"losses": losses, "adapters": sha(adapters), "averages": sha(averages), "norms": norms(adapters)}


def fed(seed: int = 3) -> str:
    """The digest of twelve batches."""
    settings = replace(micro_recipe().fed, size=64, severity=((20.0, 22.0, 0.5), (22.0, 25.0, 0.5)), seed=seed)
    return global_digest(batches(DATASET, settings, 0, 12, engine="inline"))


def base_weight(name: str) -> str:
    """The checkpoint's own base weights; any other by name."""
    own = CHECKPOINT / f"{name.removeprefix('micro_')}.safetensors"
    return str(own) if own.exists() else str(find(name))


def samples() -> dict[str, np.ndarray]:
    """uint8 [2, 64, 64, 3] by the stored checkpoint, with several references, settings and none."""
    torch.set_num_threads(1)
    restorer = Restorer(str(CHECKPOINT / "checkpoints" / "step-00000002"), weight_finder=base_weight)
    smooth = rng(0, "golden faces").integers(0, 256, (5, 8, 8, 3)).repeat(8, axis=1).repeat(8, axis=2).astype(np.uint8)
    degraded = smooth[:2]
    shown = [Reference(image=smooth[2 + n], raw_embedding=rng(n, "golden embedding").normal(size=256) * (3 + n))
             for n in range(3)]
    several, one = [shown, shown[::-1]], [shown[:1], shown[1:2]]

    def drawn(references: list[list[Reference]] | None, **settings: Any) -> np.ndarray:
        return restorer.restore_aligned(degraded, references, seeds=[4, 5], settings=SamplerSettings(
            steps=4, **settings))

    return {"three": drawn(several), "guided": drawn(several, guidance=3.0), "reused": drawn(one, reuse_context=2),
            "mean": drawn(one, fidelity=1.0), "half": drawn(one, fidelity=0.5, precision="bf16"),
            "without": drawn(None), "reference guided": drawn(several, reference_guidance=2.0)}


def measured(folder: Path) -> dict[str, Any]:
    """Everything but the samples; each run in a process of its own in `folder`, the micro one from its fifth step."""
    torch.set_num_threads(1)
    places = {"micro": folder / "resumed", "tiny": folder / "tiny"}
    shutil.copytree(RUN, places["micro"])
    runs = [Forked(folder / f"{what}.log", run, what, place) for what, place in places.items()]
    passes, feed = forward_passes(), fed()
    finished(runs, 500)
    return {
        "machine": machine(), "forward": {name: sha({name: tensor}) for name, tensor in passes.items()},
        "forward_heads": {name: tensor[:, :2, :4].flatten().tolist() for name, tensor in passes.items()},
        "feed": feed, **{what: trained(place) for what, place in places.items()},
    }


def record(work: Path, into: Path) -> None:
    """Write all of it into a folder."""
    values = measured(work)
    (into / "values.json").write_text(json.dumps(values, indent=1, sort_keys=True) + "\n")
    np.savez_compressed(into / "samples.npz", **samples())


if __name__ == "__main__":
    record(Path(tempfile.mkdtemp()), Path(sys.argv[1]) if sys.argv[1:] else HERE)
