"""Words from files reach the terminal as words: never as markup, never as commands, through every verb that prints."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.table import Table
from rich.text import Text
from rich.tree import Tree
from typer.testing import CliRunner

from anchorface.cli import app
from anchorface.identity_index.clustering.decisions import add_decision
from anchorface.pipelines.ingest import ingest
from anchorface.records.console import Console, shown

HOSTILE = ("[/red]", "[bold]x[/]", "[link=http://a]b", "\x1b[2J\x1b]0;owned\x07", "a\rb", "\x9b31m", "\u202egnp.exe",
           "\udcff", ":smile:", "[@click=quit()]", "back\\[slash")


def screen() -> tuple[Console, io.StringIO]:
    stream = io.StringIO()
    return Console(file=stream, force_terminal=True, color_system=None, width=300), stream


@pytest.mark.parametrize("word", HOSTILE)
def test_a_word_is_shown_and_neither_styles_nor_commands(word: str) -> None:
    console, stream = screen()
    table, tree = Table(word, title=word), Tree(word)
    table.add_row(word)
    tree.add(Text(f"in a text {word}"))
    for thing in (word, Text.assemble((word, "bold"), ": said"), table, tree, f"inside {word} a line"):
        console.print(thing)
    said = stream.getvalue()
    said.encode("utf-8")
    assert said.count(shown(word)) >= 5 and "\u202e" not in said
    assert not any(code in said.replace("\n", "") for code in map(chr, (*range(32), *range(127, 160))))


def test_shown_leaves_ordinary_words_and_can_keep_one_line() -> None:
    for word in ("photo [1].jpg", "Ünïcode 人 \U0001f600 family\u200d", "two\nlines"):
        assert shown(word) == word
    assert shown("a\nb\tc", lines=False) == "a\\nb\\tc" and shown("\x1b[0m") == "\\x1b[0m"


def run(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, list(words), env={"COLUMNS": "300", "NO_COLOR": "1"})
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


def heap(folder: Path) -> list[str]:
    """Pictures, and files that are none, with hostile names."""
    names = [f"{number}{word.replace('/', '')}.jpg" for number, word in enumerate(HOSTILE) if word != "\udcff"]
    (folder / "[").mkdir(parents=True)
    for number, name in enumerate([*names, "[/red].jpg", "[/bold]x\x1b[31m.jpg"]):
        path = folder / ("[" if name.startswith("[") else "") / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if number % 2:
            path.write_bytes(b"none")
        else:
            Image.fromarray(np.full((24, 24, 3), 9 * number, np.uint8)).save(path)
    return names


def silent(said: str) -> bool:
    return not any(code in said.replace("\n", "") for code in map(chr, (*range(32), *range(127, 160), 0x202E)))


def test_hostile_names_go_through_the_verbs(tmp_path: Path) -> None:
    photos, work = tmp_path / "[/photos]", tmp_path / "[bold]work\x1b[1m"
    heap(photos)
    ingest(str(photos), str(work), concurrency=0)
    status, said = run("dropped", str(work))
    assert status == 0 and silent(said) and "x\\x1b[31m.jpg" in said
    add_decision(str(work), kind="label", face_ids=("f1",), label="[/red]\x1b[2J", note="[bold]n\x07", made="now")
    status, said = run("decisions", str(work))
    assert status == 0 and silent(said) and "[/red]\\x1b[2J" in said and "[bold]n\\x07" in said
    status, said = run("degrade", str(photos), "--out", str(tmp_path / "[/out]\x1b[3m"))
    assert status == 0 and silent(said) and "[/out]\\x1b[3m" in said.replace("\n", "")
    for words in (("versions", str(work)), ("restore", str(work / "[/c]"), str(photos), str(tmp_path / "o")),
                  ("diff", f"{tmp_path}/[/a]", f"{tmp_path}/[/b]"), ("curate", f"{tmp_path}/[/no]", str(work)),
                  ("runs", "show", f"{tmp_path}/[/run]\x1b"), ("erase", str(work), "--photo", "[/red]\x1b[0m"),
                  ("merge", str(work), "[/red]", "\x1b[0m"),
                  ("train", f"{tmp_path}/[/d]", str(tmp_path / "run"), "--workers", "0"),
                  ("who", str(photos / "[" / "[/bold]x\x1b[31m.jpg"), "--workspace", str(work)),
                  ("evaluate", f"{tmp_path}/[/c]\x1b", f"{tmp_path}/[/d]", str(tmp_path / "e"))):
        status, said = run(*words)
        assert silent(said), words

