"""A server on loopback that serves files well and badly, and remembers what it was asked for."""

import contextlib
import http.server
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass
class Served:
    """What stands at one path, and how it is served; a test may change it between two requests.

    cuts: after how many bytes of an answer the connection ends, one number a request, None for the whole. status: this
    one instead of the file. pause: seconds before each 64 kB.
    """

    content: bytes = b""
    etag: str = '"one"'
    ranges: bool = True
    cuts: list[int | None] = field(default_factory=list)
    status: int = 0
    location: str = ""
    pause: float = 0.0
    length: bool = True


class FileServer(http.server.ThreadingHTTPServer):
    """`files`: what it serves, by path. `asked`: each request's path and its Range header."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, Served] = {}
        self.asked: list[tuple[str, str | None]] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away is no news."""


class _Handler(http.server.BaseHTTPRequestHandler):
    server: FileServer

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.server.asked.append((self.path, wanted))
        served = self.server.files[self.path]
        if served.location:
            self.send_response(302)
            self.send_header("Location", served.location)
            self.end_headers()
            return
        if served.status:
            self.send_error(served.status)
            return
        begin = 0
        if served.ranges and wanted and self.headers.get("If-Range") == served.etag:
            begin = int(wanted.removeprefix("bytes=").removesuffix("-"))
        if wanted and begin >= len(served.content):
            self.send_error(416)
            return
        self.send_response(206 if begin else 200)
        if begin:
            self.send_header("Content-Range", f"bytes {begin}-{len(served.content) - 1}/{len(served.content)}")
        if served.etag:
            self.send_header("ETag", served.etag)
        body = served.content[begin:]
        if served.length:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        cut = served.cuts.pop(0) if served.cuts else None
        for start in range(0, len(body[:cut]), 2**16):
            time.sleep(served.pause)
            self.wfile.write(body[:cut][start : start + 2**16])
            self.wfile.flush()

    def log_message(self, *words: object) -> None:
        pass


@contextlib.contextmanager
def file_server() -> Iterator[FileServer]:
    """One that ends with the block."""
    with FileServer() as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield server
        server.shutdown()
