"""The house rules that a machine can check: import arrows, no module-level randomness, small files."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MAX_LINES = 450
EVERYTHING = {
    "records", "degradation", "faces", "synthetic", "identity_index", "models", "pipelines", "training",
    "restoration", "evaluation", "infra",
}
MAY_IMPORT = {
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


def _files() -> list[Path]:
    rooms = [path for room in (*EVERYTHING, "cli") for path in (ROOT / room).rglob("*.py")]
    return sorted([*rooms, ROOT / "demo.py"])


def _room(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def _imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.module


def forbidden_arrows(room: str, source: str) -> list[str]:
    """The imports in `source` that the house does not allow for `room`."""
    found = []
    for name in _imports(ast.parse(source)):
        top = name.partition(".")[0]
        if top in EVERYTHING | {"cli", "demo"} and top != room and top not in MAY_IMPORT[room]:
            found.append(name)
        if top in ENGINES and room in ENGINE_FREE:
            found.append(name)
        if room == "training" and top == "pipelines" and name.split(".")[1:2] not in (["feed"], ["cluster"]):
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


@pytest.mark.parametrize("path", _files(), ids=lambda p: str(p.relative_to(ROOT)))
def test_every_file_keeps_the_house(path: Path) -> None:
    source = path.read_text()
    assert forbidden_arrows(_room(path), source) == []
    assert module_level_randomness(source) == []
    assert source.count("\n") <= MAX_LINES, f"{path.name} has more than {MAX_LINES} lines: it is two things"


def test_the_rules_catch_what_they_forbid() -> None:
    assert forbidden_arrows("models", "import ray") == ["ray"]
    assert forbidden_arrows("faces", "from training.loop import train") == ["training.loop"]
    assert forbidden_arrows("training", "from pipelines.ingest import ingest") == ["pipelines.ingest"]
    assert forbidden_arrows("training", "from pipelines.feed import batches") == []
    assert module_level_randomness("import numpy as np\nx = [np.random.rand()]") == ["np.random.rand()"]
    assert module_level_randomness("def f():\n    return np.random.rand()") == []


def test_the_rooms_of_the_house_exist() -> None:
    assert {path.parent.name for path in ROOT.glob("*/__init__.py")} >= EVERYTHING
