"""Open ports by real sockets of real processes."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from anchorface.infra.doctor import ports
from anchorface.infra.doctor.ports import Listening, is_loopback, listening, open_ports, owner_of

LISTENS = """
import socket, sys
server = socket.create_server((sys.argv[1], 0))
print(server.getsockname()[1], flush=True)
sys.stdin.read()
"""


@contextmanager
def server(script: Path, address: str) -> Iterator[int]:
    """A process with this script that listens at an address; its port."""
    script.write_text(LISTENS)
    words = [sys.executable, str(script), address]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.kill()


def test_a_server_that_others_reach_is_found_with_its_remedy_and_one_on_loopback_is_not(tmp_path: Path) -> None:
    with server(tmp_path / "mlflow", "0.0.0.0") as port, server(tmp_path / "grafana", "127.0.0.1") as near:
        found = listening()
    assert Listening(owner="MLflow", address="", port=port, token=False) in found
    assert near not in {each.port for each in found}
    row, = (row for row in open_ports(found, "note") if row.subject == "MLflow")
    assert row.state == "note" and f"*:{port}" in row.detail and "ssh -L" in row.remedy


def test_what_is_nobody_s_of_ours_is_left_out_and_of_others_the_port_tells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with server(tmp_path / "game", "0.0.0.0") as port:
        assert port not in {each.port for each in listening()}
    assert ports._owner(None, 8265) == ("Ray", False) and ports._owner(None, 81) == ("", False)


@pytest.mark.parametrize(("command", "owner"), [
    ("/venv/lib/python3.11/site-packages/ray/core/src/ray/gcs/gcs_server --log_dir=/tmp", "Ray"),
    ("ray::IDLE", "Ray"), ("/venv/bin/python -m ray.util.client.server --host=0.0.0.0", "Ray"),
    ("/venv/bin/python -u /venv/site-packages/ray/dashboard/dashboard.py --port=8265", "Ray"),
    ("/venv/bin/python /home/ray/game.py", ""), ("/venv/bin/python -m mlflow server --port 5000", "MLflow"),
    ("/venv/bin/python -m uvicorn --host 0.0.0.0 mlflow.server.fastapi_app:app", "MLflow"),
    ("/usr/lib/postgresql/15/bin/postgres -D data", "Postgres"), ("grafana server", "Grafana"),
    ("/venv/bin/python /venv/bin/anchorface train a b", "anchorface"), ("/usr/sbin/sshd -D", ""), ("", ""),
])
def test_whose_a_process_is(command: str, owner: str) -> None:
    assert owner_of(command.split()) == owner


def test_loopback_is_loopback_in_every_notation() -> None:
    assert all(map(is_loopback, ("127.0.0.1", "127.3.2.1", "::1", "::ffff:127.0.0.1")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "10.0.0.1", "::ffff:10.0.0.1", "fe80::1%eth0")))
