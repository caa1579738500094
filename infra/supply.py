"""What this project is built on: the licences of every pinned package, and known advisories against their versions.

In: `requirements.lock` and `cluster.lock`, what is installed here, and the wheels of extras that are in no lock. Out:
`docs/licences.md` (`make licences`), and what the advisory service says (`make advisories`). Run as
`python -m anchorface.infra.supply licences|advisories`.

A wheel may carry libraries under other licences than its own: those beside its modules (`<package>.libs/`) are listed,
and those under the GPL and LGPL named as such. What is linked into a module or stands elsewhere is not seen.
"""

import contextlib
import importlib.metadata
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from anchorface.records.errors import ConfigurationError, StorageError

ROOT = Path(__file__).resolve().parents[1]
LOCKS, NOTICE = (ROOT / "requirements.lock", ROOT / "cluster.lock"), ROOT / "docs" / "licences.md"
UNLOCKED = ("dlib", "noncommercial")
"""Extras that users install knowingly: no environment of ours has them, and they are in no lock."""
FFMPEG = ("libavcodec", "libavdevice", "libavfilter", "libavformat", "libavutil", "libswresample", "libswscale")
GPL = {"libx264": "GPL-2.0-or-later", "libx265": "GPL-2.0-or-later"}
LGPL = dict.fromkeys(FFMPEG, "LGPL-2.1-or-later (FFmpeg)") | {
    "libheif": "LGPL-3.0-or-later", "libde265": "LGPL-3.0-or-later", "libgnutls": "LGPL-2.1-or-later",
    "libmp3lame": "LGPL-2.0-or-later", "libasound": "LGPL-2.1-or-later", "libquadmath": "LGPL-2.1-or-later",
    "libgmp": "LGPL-3.0-or-later or GPL-2.0-or-later", "libnettle": "LGPL-3.0-or-later or GPL-2.0-or-later",
    "libhogweed": "LGPL-3.0-or-later or GPL-2.0-or-later", "libunistring": "LGPL-3.0-or-later or GPL-2.0-or-later",
    "libgfortran": "GPL-3.0-or-later with the GCC runtime exception",
    "libgomp": "GPL-3.0-or-later with the GCC runtime exception",
}
"""Libraries inside wheels whose licences ask for more than a notice, as their projects state them. FFmpeg that is built
with one of GPL is as a whole under the GPL."""
UV = str(Path(sys.executable).parent / "uv")
CLASSIFIER = "License :: OSI Approved :: "
SERVICE = "api.osv.dev"
_PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)\s*(?:;\s*([^\\]+?))?\s*\\?$", re.MULTILINE)
HEAD = """# Licences of what this is built on

`make licences` writes this page from `requirements.lock`, `cluster.lock` and the packages installed on Linux (x86-64);
torch and what only torch asks for are installed for each machine and are in no lock. The project's own licence is
Apache-2.0 (LICENSE). Weights have licences of their own: `anchorface doctor`.

## Parts of wheels, and whole packages, under the GPL and LGPL

Whoever hands on an installation (an image, a bundle) hands these on too. The GPL asks that the whole that is linked to
them be under the GPL, with its source; installing from the registry hands on nothing.

| package | part | licence |
| --- | --- | --- |
"""
COLUMNS = "| package | version | licence | libraries inside |\n| --- | --- | --- | --- |\n"
BESIDE = """
## Packages of the extras dlib and noncommercial

They are in no lock: whoever installs these extras takes them from the registry, beside the packages above.

"""


def locked() -> str:
    """The locks that lie beside the code, one after the other; nothing if there are none."""
    return "".join(lock.read_text() for lock in LOCKS if lock.exists())


def pins(text: str) -> list[tuple[str, str, str]]:
    """The packages of a lock: name, version, and the environments that it is for (empty for all)."""
    return [(name, version, marker or "") for name, version, marker in _PIN.findall(text)]


def notice(text: str, extras: str = "", folder: str = "") -> str:
    """The page of licences of the packages of a lock, as they are installed here.

    Args:
        extras: pins of what only extras bring, installed in `folder`.

    Raises:
        ConfigurationError: a package that this environment needs is installed in no or another version.
    """
    rows, parts = _rows(text, sys.path)
    more, inside = _rows(extras, [folder])
    said = "\n".join(f"| {name} | {part} | {terms} |" for name, part, terms in parts + inside)
    return (f"{HEAD}{said}\n\n## Packages\n\n{COLUMNS}" + "\n".join(rows) + "\n"
            + (f"{BESIDE}{COLUMNS}" + "\n".join(more) + "\n" if more else ""))


def _rows(text: str, path: list[str]) -> tuple[list[str], list[tuple[str, str, str]]]:
    """Lines for the packages of a lock that are installed on a path, and the parts of theirs that ask for more."""
    rows, parts = [], []
    for name, version, marker in pins(text):
        found = next(iter(importlib.metadata.distributions(name=name, path=path)), None)
        if found is None:
            if not marker:
                raise ConfigurationError(f"{name} {version} is not installed: `make cluster-environment` installs it")
            rows.append(f"| {name} | {version} | not installed here ({marker}) | |")
            continue
        if found.version != version:
            if marker:
                continue
            raise ConfigurationError(f"{name} {found.version} is installed and not {version}: `make environment`")
        inside = libraries(str(file) for file in found.files or ())
        terms = licence(found)
        rows.append(f"| {name} | {version} | {terms} | {', '.join(inside)} |")
        if re.search(r"\bL?GPL", terms):
            parts.append((name, "all of it", terms))
        whole = [part for part in inside if part in GPL]
        parts += [(name, part, GPL[part]) for part in whole]
        for part in inside:
            if part in LGPL:
                bound = part in FFMPEG and whole
                said = f"{LGPL[part]}; GPL as a whole, built with {', '.join(whole)}" if bound else LGPL[part]
                parts.append((name, part, said))
    return rows, parts


def unlocked() -> str:
    """Pins of what the extras UNLOCKED bring beside the base and the locks, as this Python would install them today."""
    locks = [word for lock in LOCKS for word in ("--constraint", str(lock))]
    words = ("pip", "compile", "--quiet", "--no-header", "--no-annotate", "--python", sys.executable, *locks)
    project = str(ROOT / "pyproject.toml")
    base = _uv(*words, project)
    all_of_it = _uv(*words, *(f"--extra={name}" for name in UNLOCKED), project)
    known = {name for name, *_ in pins(locked() + base)}
    return "".join(f"{name}=={version}\n" for name, version, _ in pins(all_of_it) if name not in known)


def write() -> None:
    """Write the page; the wheels of what is unlocked are looked at and thrown away."""
    with tempfile.TemporaryDirectory() as folder:
        extras = unlocked()
        place = str(Path(folder) / "installed")
        _uv("pip", "install", "--quiet", "--python", sys.executable, "--no-deps", "--target", place, *extras.split())
        NOTICE.write_text(notice(locked(), extras, place))


def _uv(*words: str) -> str:
    """What uv says.

    Raises:
        StorageError: its first complaint, if it fails.
    """
    answer = subprocess.run([UV, *words], capture_output=True, text=True)
    if answer.returncode:
        raise StorageError(f"uv {' '.join(words[:2])}: {answer.stderr.strip()[:400]}")
    return answer.stdout


def differing(text: str) -> list[str]:
    """Packages that are installed in another version than a lock says, as `numpy 2.1.0 (2.4.6)`; one that is not
    installed is none, since a lock also holds what only tests need."""
    found = []
    for name, version, marker in pins(text):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            here = importlib.metadata.version(name)
            if here != version and not marker:
                found.append(f"{name} {here} ({version})")
    return found


def licence(found: importlib.metadata.Distribution) -> str:
    """What a package's metadata say of its licence: the expression, else the classifiers, else the first words, else
    the first line of the file that they name."""
    expression, free, classifiers = (
        found.metadata.get_all(name) or [] for name in ("License-Expression", "License", "Classifier"))
    if expression:
        return str(expression[0])
    named = [text.removeprefix(CLASSIFIER) for text in classifiers if text.startswith(CLASSIFIER)]
    files = (found.read_text(f"licenses/{name}") or "" for name in found.metadata.get_all("License-File") or [])
    words = "".join(free).strip() or next((text.strip() for text in files if text.strip()), "")
    return "; ".join(named) or words.partition("\n")[0].replace("|", "/")[:80] or "not stated in its metadata"


def libraries(files: Iterable[str]) -> list[str]:
    """The shared libraries beside a package's modules, without versions: `av.libs/libx264-1ab.so.164` is libx264."""
    beside = (path for path in files if re.search(r"\.libs/|\.dylibs/", path))
    return sorted({re.split(r"[-.]", path.rpartition("/")[2])[0] for path in beside})


def advisories(text: str) -> int:
    """Ask for known advisories against the packages of a lock; what is found is printed by uv.

    Returns:
        uv's exit status: 0 if there are none.

    Raises:
        StorageError: the service cannot be reached, so nothing is known.
    """
    lines = [f'#   "{name}=={version}{f"; {marker}" if marker else ""}",' for name, version, marker in pins(text)]
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "pins.py"
        script.write_text("\n".join(["# /// script", '# requires-python = ">=3.11,<3.14"', "# dependencies = [", *lines,
                                     "# ]", "# ///", ""]))
        command = [UV, "audit", "--preview-features", "audit-command", "--script", str(script)]
        answer = subprocess.run(command, capture_output=True, text=True)
    print(answer.stdout, end="")
    if answer.returncode and "error:" in answer.stderr:
        reason = answer.stderr.partition("error:")[2].strip().splitlines()[0]
        raise StorageError(f"advisories are not known: {SERVICE} could not be asked from here ({reason}). Ask again "
                           "where it can be reached")
    print(answer.stderr, end="", file=sys.stderr)
    return answer.returncode


def main(words: list[str]) -> int:
    """Carry out `licences` or `advisories`."""
    if words == ["licences"]:
        write()
        return 0
    if words == ["advisories"]:
        try:
            return advisories(locked())
        except StorageError as error:
            print(error, file=sys.stderr)
            return 2
    raise ConfigurationError(f"supply {' '.join(words)!r}: it is licences or advisories")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
