"""A real S3-compatible server of one's own: OpenStack Swift with its S3 layer, on loopback, in a temporary folder,
counting what it is asked.

One replica on one device; signatures, users, rights, conditional writes, ranges and multipart uploads are Swift's own.
 USER may do everything; READER has an account of the same name and may only read there.
"""

import contextlib
import os
import pwd
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from pyarrow import fs

SERVERS = ("account", "container", "object", "proxy")
USER, READER, SECRET = "anchorface:writer", "anchorface:reader", "n0t-for-any-Log"
SECONDS = 120.0

START = """
import ctypes, os, sys
die_with_parent = lambda: ctypes.CDLL(None).prctl(1, 9)
die_with_parent()
folder, ports = sys.argv[1], dict(zip(("account", "container", "object", "proxy"), map(int, sys.argv[2:])))
from swift.common.utils import set_swift_dir
set_swift_dir(folder)
from swift.common.ring import RingBuilder
from swift.common.wsgi import run_wsgi
for kind in ("account", "container", "object"):
    ring = RingBuilder(4, 1, 0)
    ring.add_dev({"region": 1, "zone": 1, "ip": "127.0.0.1", "port": ports[kind], "device": "one", "weight": 1})
    ring.rebalance()
    ring.get_ring().save(f"{folder}/{kind}.ring.gz")
for kind in ("account", "container", "object"):
    if os.fork() == 0:
        die_with_parent()
        sys.exit(run_wsgi(f"{folder}/{kind}.conf", f"{kind}-server"))
sys.exit(run_wsgi(f"{folder}/proxy.conf", "proxy-server"))
"""
EVERY = """
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
workers = 0
user = {user}
swift_dir = {folder}
log_address = {folder}/no-syslog
"""
STORAGE = EVERY + """
devices = {folder}/devices
mount_check = false
disable_fallocate = true
fallocate_reserve = 0
[pipeline:main]
pipeline = {kind}-server
[app:{kind}-server]
use = egg:swift#{kind}
"""
PROXY = EVERY + """
[pipeline:main]
pipeline = catch_errors counted s3api tempauth copy slo dlo proxy-server
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
[filter:catch_errors]
use = egg:swift#catch_errors
[filter:counted]
paste.filter_factory = counted:factory
file = {folder}/requests
[filter:s3api]
use = egg:swift#s3api
location = us-east-1
[filter:tempauth]
use = egg:swift#tempauth
user_anchorface_writer = {secret} .admin
user_anchorface_reader = {secret} .reseller_reader
[filter:copy]
use = egg:swift#copy
[filter:slo]
use = egg:swift#slo
[filter:dlo]
use = egg:swift#dlo
"""
COUNTED = '''
def factory(conf, *, file, **rest):
    """Writes a line a request: method, status, bytes in, bytes out, range, path."""
    log = open(file, "a", buffering=1)
    def counted(app):
        def call(environ, start):
            said = {}
            def started(status, headers, *rest):
                said["status"] = status.split()[0]
                return start(status, headers, *rest)
            sent = 0
            try:
                for piece in app(environ, started):
                    sent += len(piece)
                    yield piece
            finally:
                log.write("%s\\t%s\\t%s\\t%d\\t%s\\t%s\\n" % (
                    environ["REQUEST_METHOD"], said.get("status", "cut"), environ.get("CONTENT_LENGTH") or 0, sent,
                    environ.get("HTTP_RANGE", ""), environ["PATH_INFO"] + "?" + environ.get("QUERY_STRING", "")))
        return call
    return counted
'''


@dataclass(frozen=True)
class Request:
    """One request that the server has answered: bytes are those of the body."""

    method: str
    status: int
    received: int
    sent: int
    range: str
    path: str


@dataclass
class ObjectStore:
    """The server, while it runs."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes]

    def environment(self, user: str = USER) -> dict[str, str]:
        """The usual environment that leads every client there."""
        return {"AWS_ACCESS_KEY_ID": user, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_REGION": "us-east-1",
                "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.port}", "AWS_EC2_METADATA_DISABLED": "true"}

    def system(self) -> fs.S3FileSystem:
        """The server as the test itself looks at it."""
        return fs.S3FileSystem(access_key=USER, secret_key=SECRET, region="us-east-1", scheme="http",
                               endpoint_override=f"127.0.0.1:{self.port}", allow_bucket_creation=True,
                               allow_bucket_deletion=True)

    def bucket(self) -> str:
        """The URI of a new bucket."""
        name = f"bucket-{uuid.uuid4().hex[:12]}"
        self.system().create_dir(name)
        return f"s3://{name}"

    def requests(self) -> list[Request]:
        """All that was asked so far."""
        return requests_in(self.folder / "requests")

    def stop(self) -> None:
        """End its processes."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def requests_in(file: Path) -> list[Request]:
    """What a server has written of what it was asked."""
    found = (line.split("\t", 5) for line in file.read_text().splitlines())
    return [Request(method, int(status) if status.isdigit() else 0, int(received), int(sent), ranged, path)
            for method, status, received, sent, ranged, path in found]


def counts(requests: list[Request]) -> dict[str, int]:
    """Requests by method, bytes that went up and down."""
    return dict(Counter(each.method for each in requests)) | {
        "up": sum(each.received for each in requests), "down": sum(each.sent for each in requests)}


@contextmanager
def object_store(folder: Path) -> Iterator[ObjectStore]:
    """Run a server while inside.

    Raises:
        RuntimeError: it did not answer in time; with what it said.
    """
    (folder / "devices" / "one").mkdir(parents=True)
    (folder / "counted.py").write_text(COUNTED)
    (folder / "swift.conf").write_text("[swift-hash]\nswift_hash_path_suffix = anchorface\n")
    ports = dict(zip(SERVERS, _free(len(SERVERS)), strict=True))
    user = pwd.getpwuid(os.getuid()).pw_name
    for kind in SERVERS:
        text = PROXY if kind == "proxy" else STORAGE
        (folder / f"{kind}.conf").write_text(
            text.format(kind=kind, folder=folder, port=ports[kind], user=user, secret=SECRET))
    with open(folder / "log", "wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", START, str(folder), *(str(ports[kind]) for kind in SERVERS)], cwd=folder,
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(folder)})
    store = ObjectStore(folder, ports["proxy"], process)
    try:
        _until_answered(store, list(ports.values()))
        yield store
    finally:
        store.stop()


def _free(count: int) -> list[int]:
    """Ports that nobody listens at."""
    with_all = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in with_all]
    for each in with_all:
        each.close()
    return ports


def _until_answered(store: ObjectStore, ports: list[int]) -> None:
    end = time.monotonic() + SECONDS
    for port in ports:
        while True:
            with closing(socket.socket()) as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            if time.monotonic() > end or store.process.poll() is not None:
                raise RuntimeError(f"the object store does not answer: {(store.folder / 'log').read_text()[-4000:]}")
            time.sleep(0.05)
