"""Postgres by its own tools: a database in a private folder, on loopback, with a password and without a socket file."""

import os
import pwd
import shutil
import subprocess
from pathlib import Path

from anchorface.infra.servers.settings import USER, Servers, write_private
from anchorface.records import ConfigurationError, LauncherError

DEBIAN = Path("/usr/lib/postgresql")
SYSTEM_USER = "postgres"


def tool(name: str) -> str:
    """The newest tool of this name.

    Raises:
        ConfigurationError: Postgres is not installed.
    """
    there = sorted(DEBIAN.glob(f"*/bin/{name}"), key=lambda path: float(path.parents[1].name))
    found = str(there[-1]) if there else shutil.which(name)
    if not found:
        raise ConfigurationError(f"Postgres ({name}) is not here: apt-get install postgresql")
    return found


def require() -> None:
    """Refuse what would not start.

    Raises:
        ConfigurationError: no Postgres, or root without the user that Postgres wants in its place.
    """
    for name in ("initdb", "pg_ctl"):
        tool(name)
    if os.geteuid() == 0:
        try:
            pwd.getpwnam(SYSTEM_USER)
        except KeyError:
            raise ConfigurationError("Postgres refuses root, and there is no user postgres here: start the servers as "
                                     "another user") from None


def prepare(servers: Servers, password: str) -> None:
    """Make the database, once, and the file by which its clients know the password.

    Raises:
        ConfigurationError: its user may not enter the folder. LauncherError: it cannot be made.
    """
    folder = servers.place()
    folder.chmod(0o711 if os.geteuid() == 0 else 0o700)  # root's must be passed by its user; all in it is private
    if os.geteuid() == 0 and subprocess.run(["test", "-x", str(folder)], cwd="/", user=SYSTEM_USER).returncode:
        raise ConfigurationError(f"{folder}: the user postgres, as whom Postgres runs for root, may not enter it; give "
                                 "another --folder, such as /var/lib/NAME")
    write_private(servers.place("pgpass"), f"127.0.0.1:{servers.postgres_port}:*:{USER}:{password}\n")
    data = servers.place("postgres")
    if (data / "PG_VERSION").exists():
        return
    shutil.rmtree(data, ignore_errors=True)
    data.mkdir(mode=0o700)
    given = servers.place("initdb-password")
    write_private(given, password + "\n")
    try:
        if os.geteuid() == 0:
            for place in (data, given):
                shutil.chown(place, SYSTEM_USER)
        _call(servers, "initdb", "--username", USER, "--pwfile", str(given), "--auth", "scram-sha-256", "--encoding",
              "UTF8", "--no-locale")
    finally:
        given.unlink()


def start(servers: Servers) -> None:
    """Start it and return when it answers."""
    log = servers.place("postgres", "server.log")
    _call(servers, "pg_ctl", "start", "--wait", "--timeout", "120", "--silent", "--log", str(log), "--options",
          f"-c listen_addresses=127.0.0.1 -c port={servers.postgres_port} -c unix_socket_directories=")


def lives(servers: Servers) -> bool:
    """Whether it runs."""
    return servers.place("postgres", "PG_VERSION").exists() and _run(servers, "pg_ctl", "status").returncode == 0


def stop(servers: Servers) -> None:
    """End it; what it has promised stands on the disk."""
    if lives(servers):
        _call(servers, "pg_ctl", "stop", "--wait", "--mode", "fast", "--silent")


def address(servers: Servers) -> str:
    """For SQLAlchemy, without the password: libpq finds that by PGPASSFILE."""
    return f"postgresql+psycopg://{USER}@127.0.0.1:{servers.postgres_port}/postgres"


def _call(servers: Servers, *words: str) -> None:
    answer = _run(servers, *words)
    if answer.returncode:
        said = answer.stderr or f"see {servers.place('postgres', 'server.log')}"
        raise LauncherError(f"{words[0]} failed in {servers.place('postgres')}: {said.strip()[-500:]}")


def _run(servers: Servers, name: str, *words: str) -> "subprocess.CompletedProcess[str]":
    user = SYSTEM_USER if os.geteuid() == 0 else None
    # Whoever reads a pipe that the server inherits waits for the server's end.
    said = subprocess.DEVNULL if "start" in words else subprocess.PIPE
    return subprocess.run([tool(name), *words, "--pgdata", str(servers.place("postgres"))], cwd="/",
                          env={"PATH": os.environ["PATH"], "LC_ALL": "C"}, stdin=subprocess.DEVNULL,
                          stdout=subprocess.DEVNULL, stderr=said, text=True, user=user, group=user,
                          extra_groups=[] if user else None)
