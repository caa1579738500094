"""No password of an address is written or printed, whatever verb meets it: workspaces, sources, tables of addresses."""

import base64
import http.server
import json
import tarfile
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import fsspec
import lance
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import typer
from typer.testing import CliRunner

from anchorface.cli import app
from anchorface.cli.app import told
from anchorface.pipelines.audit import audit
from anchorface.pipelines.find_faces import find_faces
from anchorface.pipelines.group import group
from anchorface.pipelines.ingest import ingest
from anchorface.pipelines.shards import shards
from anchorface.pipelines.stages.stage import dropped
from anchorface.records.storage import list_files, read_bytes, read_table
from anchorface.synthetic import write_corpus

WORD, SIGNATURE = "s3cret", "s1gned"
MEMORY = f"memory://me:{WORD}@box/work"
NOWHERE = f"http://me:{WORD}@127.0.0.1:9/work?X-Amz-Signature={SIGNATURE}"
BUCKET = f"nosuch://KEY:{WORD}/{WORD}@bucket/work"


class _Guarded(http.server.SimpleHTTPRequestHandler):
    """Pictures for those who give the password and the signature."""

    def do_GET(self) -> None:
        expected = "Basic " + base64.b64encode(f"me:{WORD}".encode()).decode()
        if self.headers.get("Authorization") != expected or f"token={SIGNATURE}" not in self.path:
            self.send_error(401)
        else:
            super().do_GET()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def web(tmp_path: Path) -> Iterator[str]:
    """The address of a server of six photographs, with the password, and their table beside it."""
    folder = tmp_path / "web"
    write_corpus(folder, identities=3, photos_each=2, seed=5, size=160)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(_Guarded, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://me:{WORD}@127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def everything(folder: str) -> str:
    """All bytes below a folder, tables also as they read."""
    said = []
    for uri in list_files(folder):
        said.append(f"{uri.removeprefix(folder)}\n" + read_bytes(uri).decode("latin-1"))
        if uri.endswith(".parquet"):
            said.append(str(read_table(uri).to_pylist()))
        if uri.endswith(".tar"):
            with tarfile.open(uri) as archive:
                said.append(str(archive.getnames()))
    said += [str(lance.dataset(path).to_table().to_pylist()) for path in Path(folder).glob("index/*.lance")]
    return "\n".join(said)


def test_signed_addresses_of_a_table_are_fetched_and_kept_nowhere(web, tmp_path, embedder_name, monkeypatch, capsys):
    monkeypatch.setenv("ANCHORFACE_FETCH_PRIVATE", "1")
    rows = [json.loads(line) for line in (tmp_path / "web" / "metadata.jsonl").read_text().splitlines()]
    urls = [f"{web}/{row['file']}?token={SIGNATURE}" for row in rows] + [f"{web}/none.jpg?token={SIGNATURE}"]
    pq.write_table(pa.table({
        "url": urls, "subject": [row["subject"] for row in rows] + [None],
        "faces": [[{"landmarks": np.ravel(row["faces"][0]["landmarks"]).tolist()}] for row in rows] + [[]],
        "source": [f"{web}/album"] * len(urls),
    }), tmp_path / "photos.parquet")
    out = str(tmp_path / "work")
    assert ingest(str(tmp_path / "photos.parquet"), out, concurrency=0)["dropped"] == len(urls)
    assert f"127.0.0.1:{web.rpartition(':')[2]}/none.jpg?token=***" in str(dropped(out).to_pylist())
    assert ingest(str(tmp_path / "photos.parquet"), out, fetch=True, concurrency=0)["photos"] == len(rows)
    assert [row["cause"] for row in dropped(out).to_pylist()] == ["unreadable"]
    assert find_faces(out, embedder=embedder_name, crop_size=160, concurrency=0)["faces"] == len(rows)
    group(out, splits=(0.5, 0.25, 0.25), seed=3)
    version = shards(out, concurrency=0)
    audit(out)
    shown = []
    for words in (["dropped", out], ["versions", out], ["shards", out], ["erase", out, "--source", "x"],
                  ["erase", out, "--originals", "--photo", f"{tmp_path}/photos.parquet#url@0"]):
        shown.append(CliRunner().invoke(app, words).output)
    assert f"{tmp_path}/photos.parquet#url@0" in "".join(shown).replace("\n", "") and Path(version).is_dir()
    printed = capsys.readouterr()
    for word in (WORD, SIGNATURE):
        assert word not in everything(out) + "".join(shown) + printed.out + printed.err


@pytest.mark.parametrize("uri", [MEMORY, NOWHERE, BUCKET], ids=["memory", "nowhere", "unknown"])
@pytest.mark.parametrize("verb", [
    "curate {} OUT", "curate OUT {}", "shards {}", "dropped {}", "versions {}", "diff {}:a {}:b", "audit {}",
    "decisions {}", "merge {} p1 p2", "label {} p1 Ada", "erase {} --identity p000000", "erase {} --photo {}",
    "erase {} --withdrawn", "who OUT {}", "references {}", "train {} OUT --workers 0 --no-track",
    "train OUT {} --workers 0", "evaluate {} {} OUT", "restore {} OUT OUT", "export {} OUT", "runs list {}",
    "runs show {}", "runs sync {}", "degrade {} OUT",
])
def test_no_verb_shows_the_password_of_an_address(verb, uri, tmp_path, capfd):
    words = [word.replace("{}", uri).replace("OUT", str(tmp_path / "here")) for word in verb.split()]
    answer = CliRunner().invoke(app, words)
    printed = capfd.readouterr()
    said = f"{answer.output} {answer.exception!r} {printed.out} {printed.err}"
    assert "Usage:" not in said, "the verb was called"
    assert WORD not in said and SIGNATURE not in said
    assert not (tmp_path / "here").exists() or WORD not in everything(str(tmp_path / "here"))


def test_the_traceback_of_a_fault_shows_no_password(capsys):
    @told
    def fails() -> None:
        raise OSError(f"cannot reach {NOWHERE}")

    with pytest.raises(typer.Exit):
        fails()
    said = capsys.readouterr().err
    assert "OSError: cannot reach http://127.0.0.1:9/work?X-Amz-Signature=***" in said and "Traceback" in said
    assert WORD not in said and SIGNATURE not in said


def test_a_source_with_a_password_is_refused_before_anything_is_written(web, tmp_path):
    answer = CliRunner().invoke(app, ["curate", f"{web}/", str(tmp_path / "work")])
    assert answer.exit_code == 2 and "by the environment" in answer.output and not (tmp_path / "work").exists()
    assert WORD not in answer.output


def test_a_workspace_with_a_password_is_used_and_not_shown(line, tmp_path):
    system = fsspec.filesystem("memory")
    place = f"memory://me:{WORD}@box/{tmp_path.name}"
    system.put(str(line.out / "dataset"), f"/me:{WORD}@box/{tmp_path.name}/dataset", recursive=True)
    answer = CliRunner().invoke(app, ["versions", place])
    assert answer.exit_code == 0 and f"memory://box/{tmp_path.name}" in answer.output.replace("\n", "")
    assert line.version.name in answer.output and WORD not in answer.output
