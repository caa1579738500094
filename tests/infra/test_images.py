"""The image is that of the lock, belongs to no root, and says whose it is."""

import re
from pathlib import Path

from anchorface.infra.manifests.pods import USER

ROOT = Path(__file__).resolve().parents[2]
TEXT = re.sub(r"\\\n", " ", (ROOT / "infra" / "images" / "Containerfile").read_text())
WORDS = [line.split(maxsplit=1) for line in TEXT.splitlines() if line and not line.startswith("#")]


def test_everything_comes_from_the_locks_with_their_hashes() -> None:
    installs = [line for verb, line in WORDS if verb == "RUN" and "pip install" in line]
    locked = re.findall(r"--requirements? (\S+)", " ".join(installs))
    assert locked == ["installer.lock", "requirements.lock", "cluster.lock"]
    assert all("--require-hashes" in part for part in re.split("&&", " ".join(installs)) if "--requirement" in part)
    pin = re.search(r"sed -n '(s/.*?/p)'", TEXT)
    assert pin and pin[1] in (ROOT / "Makefile").read_text(), "the pin of torch is read as make reads it"


def test_it_runs_as_the_user_of_the_pods_and_is_labelled() -> None:
    assert [line for verb, line in WORDS if verb == "USER"] == [f"{USER}:{USER}"]
    assert f"--uid {USER}" in TEXT
    assert "UV_COMPILE_BYTECODE=1" in TEXT, "that user compiles no module, and dozens of processes import them"
    (labels,) = (line for verb, line in WORDS if verb == "LABEL")
    assert 'image.revision="${COMMIT}"' in labels and "image.licenses=" in labels and "anchorface.licences=" in labels


def test_nothing_of_a_checkout_but_the_code_goes_into_it() -> None:
    ignored = (ROOT / ".dockerignore").read_text().split()
    assert {".*", "tests", "runs", "mlruns"} <= set(ignored)
