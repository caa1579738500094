"""What the engines would report to their makers is switched off by importing anything of ours."""

import os
import subprocess
import sys
from pathlib import Path

import onnx
from onnx import TensorProto, helper

PROGRAM = """
import sys
import anchorface
import onnxruntime
onnxruntime.InferenceSession(sys.argv[1]).run(None, {"x": [1.0]})
from mlflow.telemetry.utils import is_telemetry_disabled
assert is_telemetry_disabled()
"""


def test_nothing_is_reported_and_no_report_is_kept_at_home(tmp_path: Path) -> None:
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Neg", ["x"], ["y"])], "one", values[:1], values[1:])
    network, home = tmp_path / "one.onnx", tmp_path / "home"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), network)
    home.mkdir()
    off = ("ORT_DISABLE_TELEMETRY", "MLFLOW_DISABLE_TELEMETRY", "DO_NOT_TRACK", "CI", "PYTEST_", "XDG_")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(off)}
    done = subprocess.run([sys.executable, "-c", PROGRAM, str(network)], env=environment | {"HOME": str(home)},
                          capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert not list(home.rglob("*onnxruntime*"))  # where the runtime keeps events until they are sent
