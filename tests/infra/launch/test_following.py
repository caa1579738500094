"""Logs are read while they are written: every line once, in order, of several files beside each other."""

import threading
import time

from anchorface.infra.launch.following import lines


def test_lines_of_several_files_come_as_they_are_written_each_once(tmp_path):
    files = [tmp_path / name for name in ("first", "second", "never")]
    over = threading.Event()
    came, times = [], {}

    def write():
        with open(files[1], "w") as second:
            second.write("a begin")
            second.flush()
            time.sleep(0.5)  # longer than a look: half a line is not shown
            second.write("ning\nä\n")
            second.flush()
            files[0].write_text("x\ny without an end")
            time.sleep(0.5)
            second.write("last")
        over.set()

    writer = threading.Thread(target=write)
    writer.start()
    for line in lines(files, over.is_set, every=0):
        came.append(line)
        times[line] = over.is_set()
    writer.join()
    assert [line for line in came if line.startswith("1: ")] == ["1: a beginning", "1: ä", "1: last"]
    assert [line for line in came if line.startswith("0: ")] == ["0: x", "0: y without an end"]
    assert len(came) == 5
    assert not times["0: x"] and not times["1: ä"], "shown only when the work was over"


def test_one_file_is_shown_as_it_is(tmp_path):
    (tmp_path / "log").write_bytes(b"one\n\xff\n\nfour")
    assert list(lines([tmp_path / "log"], lambda: True)) == ["one", "�", "", "four"]
    assert list(lines([tmp_path / "none"], lambda: True)) == []
