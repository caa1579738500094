"""The house rules that a machine can check: one import name, import arrows without circles, no module-level randomness,
small files, folders that the house knows, and packages that an installation carries.
"""

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
NAME = "anchorface"
MAX_LINES = 450
FOLDERS: dict[str, set[str]] = {
    "records": {"decoding"},
    "degradation": {"batch", "operations", "profiles"},
    "faces": set(),
    "synthetic": set(),
    "identity_index": {"audit", "clustering", "retrieval"},
    "models": {"iconface", "ip_fvr", "rg_ipfr"},
    "pipelines": {"calibration", "erasure", "faces", "feed", "identities", "sources", "stages", "versions"},
    "training": {"checkpoints", "objectives", "small_networks", "sweeps"},
    "restoration": set(),
    "evaluation": {"films", "metrics", "protocols"},
    "infra": {"doctor", "launch", "manifests", "servers"},
    "cli": set(),
}
"""The rooms, and the folders that each may have."""
EVERYTHING = FOLDERS.keys() - {"cli"}
MAY_IMPORT: dict[str, set[str]] = {
    "records": set(),
    "degradation": {"records"},
    "faces": {"records"},
    "synthetic": {"records"},
    "identity_index": {"records", "faces"},
    "models": {"records"},
    "pipelines": {"records", "faces", "degradation", "identity_index", "synthetic"},
    "training": {"records", "faces", "degradation", "pipelines", "models"},
    "restoration": {"records", "faces", "identity_index", "models"},
    "evaluation": {"records", "faces", "degradation", "identity_index", "restoration"},
    "infra": EVERYTHING,
    "cli": EVERYTHING | {"demo"},
    "demo": EVERYTHING,
}
ENGINES = {"ray", "deepspeed", "mlflow"}
ENGINE_FREE = {"records", "degradation", "faces", "synthetic", "models", "identity_index", "evaluation"}
RANDOM_CALLS = ("random.", "np.random.", "numpy.random.", "torch.rand", "torch.manual_seed")
PIPELINES_FOR_TRAINING = ("feed.", "stages.cluster.", "stages.metrics.")
"""What training may import of pipelines: a folder, and two files."""
MOST_LAYERS = {"pipelines": 7}


def _files() -> list[Path]:
    rooms = [path for room in FOLDERS for path in (ROOT / room).rglob("*.py")]
    return sorted([*rooms, *ROOT.glob("*.py")])


def _room(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def _module(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join((NAME, *parts)).removesuffix(".__init__")


def _imports(tree: ast.AST) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Each imported module, and the names taken from it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, ()) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.module, tuple(alias.name for alias in node.names)


def forbidden_arrows(room: str, source: str) -> list[str]:
    """The imports in `source` that the house does not allow for `room`."""
    found = []
    for module, names in _imports(ast.parse(source)):
        folder = module in (NAME, f"{NAME}.pipelines", f"{NAME}.pipelines.stages")
        whole = [f"{module}.{name}" for name in names] if folder else [module]
        for name in whole:
            top, _, rest = name.partition(".")
            to, _, inner = rest.partition(".")
            if top in FOLDERS.keys() | {"demo"} or (top == NAME and to != room and to not in MAY_IMPORT.get(room, ())):
                found.append(name)  # under a bare name, or an arrow that the table does not have
            if top in ENGINES and room in ENGINE_FREE:
                found.append(name)
            if room == "training" and to == "pipelines" and not f"{inner}.".startswith(PIPELINES_FOR_TRAINING):
                found.append(name)
    return found


def module_level_randomness(source: str) -> list[str]:
    """Calls of a random function that run when the module is imported."""
    found = []
    body: list[ast.AST] = list(ast.parse(source).body)
    while body:
        node = body.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.Call) and ast.unparse(node.func).startswith(RANDOM_CALLS):
            found.append(ast.unparse(node))
        body.extend(ast.iter_child_nodes(node))
    return found


def arrows(sources: Mapping[str, str]) -> dict[str, set[str]]:
    """The files that each file imports. A package's `__init__` counts as a file where a name is taken from it that is
    no module.
    """
    found: dict[str, set[str]] = {module: set() for module in sources}
    for module, source in sources.items():
        for target, names in _imports(ast.parse(source)):
            files = {f"{target}.{name}" for name in names} & sources.keys()
            if len(files) < len(names) or not names:
                files |= {target} & sources.keys()
            found[module] |= files - {module}
    return found


def circle(sources: Mapping[str, str]) -> list[str]:
    """A circle of imports among files, as module names; empty if there is none."""
    try:
        TopologicalSorter(arrows(sources)).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def layers(sources: Mapping[str, str], room: str) -> int:
    """How many layers of imports a room has: files that import none of the room are the first."""
    inside = arrows({module: text for module, text in sources.items() if module.startswith(f"{NAME}.{room}.")})

    @cache
    def height(module: str) -> int:
        return 1 + max((height(other) for other in inside[module]), default=0)

    return max(height(module) for module in inside)


@pytest.mark.parametrize("path", _files(), ids=lambda p: str(p.relative_to(ROOT)))
def test_every_file_keeps_the_house(path: Path) -> None:
    source = path.read_text()
    assert path.parent == ROOT or forbidden_arrows(_room(path), source) == []
    assert module_level_randomness(source) == []
    assert source.count("\n") <= MAX_LINES, f"{path.name} has more than {MAX_LINES} lines: it is two things"


def test_the_rules_catch_what_they_forbid() -> None:
    assert forbidden_arrows("models", "import ray") == ["ray"]
    assert forbidden_arrows("faces", "from anchorface.training.loop import train") == ["anchorface.training.loop"]
    assert forbidden_arrows("faces", "from anchorface import models") == ["anchorface.models"]
    assert forbidden_arrows("faces", "from records import rng") == ["records"]
    verb = "from anchorface.pipelines.ingest import ingest"
    assert forbidden_arrows("training", verb) == ["anchorface.pipelines.ingest"]
    assert forbidden_arrows("training", "from anchorface.pipelines.feed.batches import batches") == []
    assert forbidden_arrows("training", "from anchorface.pipelines.stages.cluster import connect") == []
    stage = "from anchorface.pipelines.stages import cluster, stage"
    assert forbidden_arrows("training", stage) == ["anchorface.pipelines.stages.stage"]
    assert module_level_randomness("import numpy as np\nx = [np.random.rand()]") == ["np.random.rand()"]
    assert module_level_randomness("def f():\n    return np.random.rand()") == []
    round_trip = {"a.b": "from a.c import x", "a.c": "def f():\n    from a import b", "a": ""}
    assert set(circle(round_trip)) == {"a.b", "a.c"}
    assert circle(round_trip | {"a.c": ""}) == []
    steps = (("x", "y"), ("y", "z"), ("z", "ray"))
    stairs = {f"{NAME}.a.{above}": f"from {NAME}.a import {below}" for above, below in steps}
    assert layers(stairs, "a") == 3


def test_no_import_runs_in_a_circle() -> None:
    assert circle({_module(path): path.read_text() for path in _files()}) == []


def test_a_room_has_no_more_layers_than_a_reader_can_hold() -> None:
    sources = {_module(path): path.read_text() for path in _files()}
    for room, most in MOST_LAYERS.items():
        assert layers(sources, room) <= most, room


def test_the_rooms_and_their_folders_are_those_of_the_house() -> None:
    assert {path.parent.name for path in ROOT.glob("*/__init__.py")} == FOLDERS.keys()
    for room, folders in FOLDERS.items():
        assert {path.parent.name for path in (ROOT / room).glob("*/**/__init__.py")} == folders, room


def test_words_reach_a_terminal_in_one_way() -> None:
    for path in _files():
        imported = {module for module, _ in _imports(ast.parse(path.read_text()))}
        assert path.name == "console.py" or not imported & {"rich.console", "rich.markup", "rich"}, path


def test_an_installation_carries_every_folder_and_mypy_reads_every_room() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = {_module(path) for path in _files() if path.name == "__init__.py"}
    assert set(project["tool"]["setuptools"]["packages"]) == packages
    assert set(project["tool"]["mypy"]["packages"]) >= {f"{NAME}.{room}" for room in FOLDERS}


def test_what_is_started_often_waits_for_no_network() -> None:
    """Ray's workers that read photographs, shards or batches do without torch, a run's launcher without diffusers."""
    program = ("import sys, anchorface.pipelines.ingest, anchorface.pipelines.shards\n"
               "import anchorface.pipelines.feed.ray_feed\nprint('torch' in sys.modules)\n"
               "import anchorface.training.launch\nprint('diffusers' in sys.modules)")
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120)
    assert told.stdout.split() == ["False", "False"]
