"""The whole line at micro size, photographs to a judged model and an erased person, below one folder or bucket.

Run alone it prints the digests of what it made, and what each step asked of an object store:
python tests/object_line.py SOURCE ROOT MICRO DETECTOR [REQUESTS]
"""

import hashlib
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
if __name__ == "__main__":
    sys.path.insert(0, str(REPOSITORY))

import pyarrow as pa  # noqa: E402
import torch  # noqa: E402

from anchorface.evaluation import evaluate, write_page  # noqa: E402
from anchorface.faces.detect import Detector  # noqa: E402
from anchorface.faces.weights import find  # noqa: E402
from anchorface.models.checkpoint import load_adapters, read_description  # noqa: E402
from anchorface.pipelines.audit import audit  # noqa: E402
from anchorface.pipelines.erasure.erase import erase  # noqa: E402
from anchorface.pipelines.erasure.selection import by_photo  # noqa: E402
from anchorface.pipelines.find_faces import find_faces  # noqa: E402
from anchorface.pipelines.group import group  # noqa: E402
from anchorface.pipelines.ingest import ingest  # noqa: E402
from anchorface.pipelines.shards import shards  # noqa: E402
from anchorface.pipelines.verify import workspace_checks  # noqa: E402
from anchorface.records import storage  # noqa: E402
from anchorface.records.checks import carry_out  # noqa: E402
from anchorface.records.dataset import find_version  # noqa: E402
from anchorface.records.storage import join  # noqa: E402
from anchorface.restoration import Restorer, SamplerSettings, restore_folder  # noqa: E402
from anchorface.training.execution import Execution  # noqa: E402
from anchorface.training.launch import train  # noqa: E402
from anchorface.training.run_folders import look  # noqa: E402
from tests.object_store import counts, requests_in  # noqa: E402
from tests.training.micro import micro  # noqa: E402

QUICK = SamplerSettings(steps=1, mean_draws=1)


def whole_line(source: str, root: str, micro_folder: str, detector: str, requests: Path | None = None
               ) -> dict[str, Any]:
    """Do all of it.

    Args:
        source: photographs with landmarks; films/ stands beside it. root: where everything goes.
        micro_folder: where `micro_checkpoint` has written; its checkpoint is copied below root.
        detector: its file. requests: where a server writes them.

    The networks compute with one thread, so that two processes come to the same bits.

    Returns:
        `made`: name -> digest of what each step made, or its rows. `asked`: step -> seconds, and requests and bytes.
    """
    torch.set_num_threads(1)
    workspace, made, asked = join(root, "workspace"), dict[str, str | list[str]](), dict[str, dict[str, float]]()

    def step(name: str, act: Callable[[], Any]) -> Any:
        before, begun = len(requests_in(requests)) if requests else 0, time.monotonic()
        value = act()
        told = counts(requests_in(requests)[before:]) if requests else {}
        asked[name] = {"seconds": round(time.monotonic() - begun, 1), **told}
        print(name, asked[name], file=sys.stderr, flush=True)
        return value

    step("ingest", lambda: ingest(source, workspace, concurrency=0))
    step("find_faces", lambda: find_faces(workspace, detector="given", crop_size=128, concurrency=0))
    step("group", lambda: group(workspace, labels=True, splits=(0.5, 0.5, 0.0)))
    dataset = step("shards", lambda: shards(workspace, concurrency=0))
    made["dataset"] = find_version(dataset)[1].manifest_id
    made["again"] = step("shards again", lambda: shards(workspace, concurrency=0)).rpartition("/")[2]
    step("audit", lambda: audit(workspace))
    damages = step("verify", lambda: [each for each in carry_out(workspace_checks(workspace)) if each])
    made["damages"] = str(damages)

    run = join(root, "run")
    execution = Execution(workers=0, feed="inline", threads=1)
    newest = step("train", lambda: train(micro(), dataset, run, execution, track=False, report=lambda line: None))
    state = load_adapters(join(newest, "ema.safetensors"), read_description(newest))
    made["weights"] = hashlib.sha256(b"".join(state[name].numpy().tobytes() for name in sorted(state))).hexdigest()
    made["run"] = look(run).state
    step("train again", lambda: train(micro(), dataset, run, execution, track=False, report=lambda line: None))

    checkpoint = join(root, "micro", "step-00000002")
    for uri in storage.list_files(join(micro_folder, "checkpoints", "step-00000002")):
        storage.write_atomic(join(checkpoint, uri.rpartition("/")[2]), storage.read_bytes(uri))
    base = {f"micro_{name}": join(micro_folder, f"{name}.safetensors") for name in ("autoencoder", "backbone")}
    restorer = step("load", lambda: Restorer(checkpoint, weight_finder=lambda name: base.get(name) or str(find(name))))
    made["checkpoint"] = restorer.checkpoint_id
    photos, out = join(source, "s000000"), join(root, "restored")
    for name in ("restore", "restore again"):
        found = step(name, lambda: restore_folder(restorer, photos, out, detector=Detector(detector), settings=QUICK))
        made[name] = json.dumps(found)
    made["restored"] = _digest(out, ".png")
    films, out = join(source.rpartition("/")[0], "films"), join(root, "films")
    found = step("restore a film", lambda: restore_folder(restorer, films, out, detector=Detector(detector),
                                                          settings=QUICK))
    made["film"], made["frames"] = json.dumps(found), _digest(out, ".mp4")
    judged = join(root, "evaluation")
    step("evaluate", lambda: evaluate(checkpoint, dataset, judged, restorer=restorer, count=2, split="val",
                                      settings=QUICK))
    made["rows"] = _rows(storage.read_table(join(judged, "rows.parquet")))
    step("page", lambda: write_page(judged, dataset, join(root, "report.html"), history=join(run, "progress.jsonl")))

    person = storage.read_table(join(workspace, "identities", "part-00000.parquet")).to_pylist()[0]
    uri = storage.read_table(join(dataset, "faces.parquet"), ["face_id", "uri"]).to_pylist()[0]["uri"]
    report = step("erase", lambda: erase(workspace, by_photo(workspace, [uri]), salt=b"salt" * 8))
    made["erased"] = json.dumps([sorted(report["faces"]), person["identity"]])
    made["after"] = find_version(join(workspace, "dataset"))[1].manifest_id
    return {"made": made, "asked": asked}


def _digest(folder: str, ending: str) -> str:
    digest = hashlib.sha256()
    for uri in storage.list_files(folder, (ending,)):
        digest.update(storage.name_in(folder, uri).encode() + storage.read_bytes(uri))
    return digest.hexdigest()


def _rows(table: pa.Table) -> list[str]:
    return [json.dumps(row, sort_keys=True, default=lambda bits: hashlib.sha256(bits).hexdigest())
            for row in table.to_pylist()]


if __name__ == "__main__":
    print(json.dumps(whole_line(*sys.argv[1:5], *map(Path, sys.argv[5:]))))
