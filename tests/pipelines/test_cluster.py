"""A Ray of one's own: heard by nobody else, seen by nobody else, quiet, short of path, and gone at the end."""

import os
import subprocess
import sys
from pathlib import Path

SAYS = """
import os, stat, sys, psutil, ray
from pathlib import Path
from anchorface.pipelines.stages.cluster import connect
connect(num_cpus=1)
folder = Path(ray._private.worker._global_node.get_temp_dir_path()).parent
mine = [p for p in psutil.process_iter() if p.pid == os.getpid() or p.ppid() == os.getpid()]
mine += [child for p in mine for child in p.children(recursive=True)]
heard = {c.laddr.ip for p in mine for c in p.net_connections("inet") if c.status == psutil.CONN_LISTEN}
modes = {stat.S_IMODE(folder.stat().st_mode)}
umask = ray.get(ray.remote(num_cpus=0)(lambda: os.umask(0)).remote())
print(folder, sorted(heard), [oct(mode) for mode in modes], oct(umask))
"""


def test_it_is_private_on_loopback_quiet_and_gone_even_where_tmpdir_is_long(tmp_path: Path) -> None:
    long = tmp_path / ("long" * 30)
    long.mkdir()
    home = tmp_path / "home"
    home.mkdir()
    environment = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    done = subprocess.run([sys.executable, "-c", SAYS], capture_output=True, text=True, timeout=400,
                          env=environment | {"TMPDIR": str(long), "HOME": str(home)})
    assert done.returncode == 0, done.stderr
    folder, said = done.stdout.strip().split(" ", 1)
    assert set(eval(said[: said.index("]") + 1])) <= {"127.0.0.1", "::ffff:127.0.0.1"}
    assert said.endswith("['0o700'] 0o77")
    assert [text for text in done.stderr.splitlines() if "Ray did not start" not in text] == []
    assert not Path(folder).exists() and not list(long.iterdir()) and not list(home.rglob("auth_token"))
