"""What is installed is what the lock says, byte for byte; whose licences it has stands on a page."""

import hashlib
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from anchorface.infra import supply
from anchorface.records.errors import ConfigurationError, StorageError

ROOT = Path(__file__).resolve().parents[2]
LOCK, BESIDE = ((ROOT / name).read_text() for name in ("requirements.lock", "cluster.lock"))


def test_every_pin_has_the_hashes_of_its_files_and_make_asks_for_them() -> None:
    entries = [entry for entry in re.split(r"\n(?=\S)", supply.locked().strip()) if entry]
    assert len(entries) == len(supply.pins(LOCK)) + len(supply.pins(BESIDE)) > 150
    assert not {name for name, *_ in supply.pins(LOCK)} & {name for name, *_ in supply.pins(BESIDE)}
    assert all("--hash=sha256:" in entry for entry in entries)
    assert not re.search(r"^torch==|^nvidia", LOCK, re.MULTILINE), "the machine decides torch's build"
    lines = (ROOT / "Makefile").read_text().splitlines()
    installs = [line for line in lines if re.search(r"--requirements? \S+\.lock", line)]
    assert len(installs) == 3 and all("--require-hashes" in line for line in installs)


def test_a_package_of_another_hash_is_not_installed(tmp_path: Path) -> None:
    wheel = tmp_path / "small_thing-1.0-py3-none-any.whl"
    about = {"METADATA": "Metadata-Version: 2.1\nName: small-thing\nVersion: 1.0\n", "RECORD": "",
             "WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"}
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("small_thing.py", "")
        for name, text in about.items():
            archive.writestr(f"small_thing-1.0.dist-info/{name}", text)
    right = hashlib.sha256(wheel.read_bytes()).hexdigest()
    for digest, status in (("0" * 64, 1), (right, 0)):
        lock = tmp_path / "one.lock"
        lock.write_text(f"small-thing==1.0 --hash=sha256:{digest}\n")
        answer = subprocess.run(
            [Path(sys.executable).parent / "uv", "pip", "install", "--no-deps", "--require-hashes", "--no-index",
             "--find-links", tmp_path, "--target", tmp_path / digest, "--requirements", lock],
            capture_output=True, text=True)
        assert bool(answer.returncode) == bool(status), answer.stderr
        assert (tmp_path / digest / "small_thing.py").exists() == (not status)


def test_the_page_names_every_package_and_what_is_under_the_gpl() -> None:
    page, now = supply.NOTICE.read_text(), supply.notice(LOCK)
    assert page.startswith(supply.HEAD) and now.startswith(supply.HEAD)
    for name, version, marker in supply.pins(supply.locked()):
        assert marker or f"| {name} | {version} | " in page, "`make licences` writes it"
    for row in ("| av | libx264 | GPL-2.0-or-later |", "| pillow-heif | libx265 | GPL-2.0-or-later |",
                "| opencv-python-headless | libavcodec | LGPL-2.1-or-later (FFmpeg) |"):
        assert row in page and row in now
    assert "GPL as a whole, built with libx264, libx265" in page
    assert "| psycopg | all of it | LGPL-3.0-only |" in page
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for extra in project["optional-dependencies"].values():
        for requirement in extra:
            name, _, version = requirement.partition("==")
            assert f"| {name.partition('[')[0]} | {version}" in page, "of extras too"
    assert "| pyiqa | 0.1.16 | PolyForm-Noncommercial-1.0.0 |" in page


def test_a_package_beside_the_locks_is_looked_at_where_it_lies(tmp_path: Path) -> None:
    about = tmp_path / "small_thing-1.0.dist-info"
    (about / "licenses").mkdir(parents=True)
    (about / "licenses" / "COPYING").write_text("\nThe Small Licence\nof one page\n")
    (about / "RECORD").write_text("small_thing.libs/libx265-1.so,,\n")
    (tmp_path / "small_thing.libs").mkdir()
    (tmp_path / "small_thing.libs" / "libx265-1.so").write_bytes(b"")
    (about / "METADATA").write_text("Metadata-Version: 2.4\nName: small-thing\nVersion: 1.0\nLicense-File: COPYING\n")
    page = supply.notice("", "small-thing==1.0\n", str(tmp_path))
    assert "| small-thing | 1.0 | The Small Licence | libx265 |" in page.partition(supply.BESIDE)[2]
    assert "| small-thing | libx265 | GPL-2.0-or-later |" in page.partition(supply.BESIDE)[0]


def test_libraries_are_known_without_their_hashes_and_a_lock_of_others_is_told() -> None:
    files = ["av.libs/libx264-1a2b.so.164", "av.libs/libx264-1a2b.so", "av/core.so", "x/.dylibs/libheif.1.dylib"]
    assert supply.libraries(files) == ["libheif", "libx264"]
    with pytest.raises(ConfigurationError, match="make cluster-environment"):
        supply.notice("no-such-thing==1.0 \\\n    --hash=sha256:00\n")
    with pytest.raises(ConfigurationError, match=r"and not 0\.0\.1"):
        supply.notice("numpy==0.0.1 \\\n    --hash=sha256:00\n")


def test_an_advisory_service_that_cannot_be_asked_is_no_clean_bill(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UV_OFFLINE", "1")
    with pytest.raises(StorageError, match="advisories are not known"):
        supply.advisories("numpy==2.4.6 \\\n    --hash=sha256:00\n")
