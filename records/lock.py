"""One writer in a folder at a time, whoever comes second being told who is there.

On a local or mounted disk the system holds the lock (`flock`) and drops it with the process, however that ends. In a
bucket no system does: there the lock is an object with its holder's word in it, which he renews. Who finds none, or one
that was not renewed for `STALE` seconds, writes his own, waits `SETTLED` seconds and reads it back: of several who come
at once the last one's word stands. Two who come further apart than that see each other. (A conditional write would
leave no such wait; no file system of pyarrow offers one.)

Whoever leaves a folder deletes what processes that were killed there were writing.
"""

import contextlib
import fcntl
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from typing import Any

import psutil

from anchorface.records.errors import ConfigurationError, StorageError
from anchorface.records.storage import (
    delete,
    delete_unfinished,
    exists,
    filesystem,
    is_local,
    join,
    private,
    read_if_there,
    write_atomic,
)

NAME = "lock.json"
STALE, RENEWED, SETTLED, ASKED = 120.0, 30.0, 1.0, 0.2


@contextlib.contextmanager
def locked(folder: str, verb: str, *, wait: bool = False, stop: bool = False) -> Iterator[None]:
    """Hold a folder's lock while inside.

    Args:
        folder: its URI. verb: what its holder does, for whoever comes second.
        wait: for whoever holds it, instead of an error. stop: end him (SIGTERM) if he is a process of this host, then
            wait.

    Raises:
        ConfigurationError: somebody else holds it, or is to be stopped on another host; names host, process, verb and
            time.
        StorageError: the lock cannot be written.
    """
    holder = {"verb": verb, "host": socket.gethostname(), "process": os.getpid(), "since": time.time()}
    take = _flocked if is_local(folder) else _leased
    ended: set[str] = set()
    with contextlib.ExitStack() as stack:
        while True:
            try:
                stack.enter_context(take(folder, holder))
                break
            except ConfigurationError:
                if stop:
                    _end(folder, ended)
                elif not wait:
                    raise
            time.sleep(ASKED)
        try:
            yield
        finally:
            if exists(folder):
                delete_unfinished(folder)


def _end(folder: str, ended: set[str]) -> None:
    """Ask whoever holds a folder to end, once: a second signal would not let him finish what he is at."""
    text = _read(join(folder, NAME))
    said = _said(text)
    if text in ended:
        return
    ended.add(text)
    if said and said.get("host") != socket.gethostname():
        raise _taken(folder, text)
    with contextlib.suppress(psutil.Error, ValueError, TypeError):
        process = psutil.Process(int(said.get("process", -1)))
        if process.pid != os.getpid() and process.create_time() <= said["since"]:  # else its number was given anew
            process.terminate()


def held(folder: str) -> bool:
    """Whether somebody says that he is at work in a folder; of one on this machine it is known whether he lives."""
    said = _said(_read(join(folder, NAME)))
    if "renewed" in said:
        return bool(time.time() - said["renewed"] < STALE)
    return bool(said) and (said.get("host") != socket.gethostname() or psutil.pid_exists(int(said.get("process", -1))))


@contextlib.contextmanager
def unwritten(folder: str) -> Iterator[None]:
    """Read a folder that nobody writes meanwhile, without keeping anybody from it: whether somebody came is seen at the
    end. On a bucket one who came and went in between is not seen.

    Raises:
        ConfigurationError: somebody is at work there, or was; names host, process, verb and time where he still is.
    """
    place = join(folder, NAME)

    def touched() -> int | None:
        system, path = filesystem(place)
        return system.get_file_info(path).mtime_ns

    before = touched()
    if held(folder):
        raise _taken(folder, _read(place))
    try:
        yield
    finally:  # what went wrong meanwhile may be its work too
        if held(folder):
            raise _taken(folder, _read(place))
        if touched() != before:
            raise ConfigurationError(f"{folder} was written while it was read: read it again")


@contextlib.contextmanager
def _flocked(folder: str, holder: dict[str, Any]) -> Iterator[None]:
    place = os.path.join(filesystem(folder)[1], NAME)
    try:
        file = open(place, "a+", opener=private)  # noqa: SIM115 (closed below: the lock lives as long as the file is open)
    except OSError as error:
        raise StorageError(f"{place}: the lock cannot be written ({error})") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.seek(0)
            raise _taken(folder, file.read()) from None
        file.truncate(0)
        file.write(json.dumps(holder))
        file.flush()
        try:
            yield
        finally:
            file.truncate(0)


@contextlib.contextmanager
def _leased(folder: str, holder: dict[str, Any]) -> Iterator[None]:
    uri, word = join(folder, NAME), uuid.uuid4().hex

    def write() -> None:
        write_atomic(uri, json.dumps(holder | {"word": word, "renewed": time.time()}).encode())

    there = _read(uri)
    if time.time() - _said(there).get("renewed", 0.0) < STALE:
        raise _taken(folder, there)
    write()
    time.sleep(SETTLED)
    there = _read(uri)
    if _said(there).get("word") != word:
        raise _taken(folder, there)
    over = threading.Event()

    def renew() -> None:
        while not over.wait(RENEWED):
            with contextlib.suppress(OSError):  # a store that is away for a while: the lease is longer
                write()

    thread = threading.Thread(target=renew, name="lock", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        with contextlib.suppress(OSError):
            delete(uri)


def _read(uri: str) -> str:
    return (read_if_there(uri) or b"").decode(errors="replace")


def _said(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _taken(folder: str, text: str) -> ConfigurationError:
    said = _said(text)
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(said.get("since", 0)))
    who = (f"{said.get('verb', 'another verb')} on {said.get('host', 'another host')}, process "
           f"{said.get('process', '?')}, since {when}" if said else "another process")
    return ConfigurationError(f"{folder} is in use: {who}. Wait for it, stop it, or take another folder")
