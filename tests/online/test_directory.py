"""Files that appear in a folder: in order, once, whole; what cannot be read; the end."""

import threading

import pytest

from mtlzoo.online.directory import follow_directory, read_json_lines
from mtlzoo.online.quarantine import Quarantine


def put(folder, name, text="whole"):
    part = folder / f"{name}.part"
    part.write_text(text)
    part.rename(folder / name)


def read(path):
    return path.name, path.read_text()


def names(stream):
    return [name for name, _ in stream]


def test_files_are_read_once_in_the_order_of_their_names_until_the_last_one(tmp_path):
    for name in ("b", "a", ".hidden", "c.tmp"):
        (tmp_path / name).write_text("whole")
    (tmp_path / "x.part").touch()
    (tmp_path / "folder").mkdir()
    stream = follow_directory(tmp_path, read, poll_seconds=0.01, until="end")
    assert iter(stream) is stream and stream.position is None
    assert next(stream) == ("a", "whole") and stream.position == "a"
    put(tmp_path, "0")  # comes later, although its name is less
    assert next(stream)[0] == "b"
    assert next(stream)[0] == "0"
    put(tmp_path, "end")
    put(tmp_path, "d")
    assert names(stream) == ["d"]
    assert names(stream) == [] and stream.position == "a/b/0/d"


def test_it_waits_for_files_and_for_the_folder(tmp_path):
    folder = tmp_path / "later"
    stream = follow_directory(folder, read, poll_seconds=0.01, until="end")
    found = []
    thread = threading.Thread(target=lambda: found.extend(stream))
    thread.start()
    folder.mkdir()
    for n in range(50):
        put(folder, f"{n:03}")
    (folder / "end").touch()
    thread.join()
    assert found == [(f"{n:03}", "whole") for n in range(50)]


def test_it_goes_on_after_a_position_and_looks_at_a_pattern(tmp_path):
    for name in ("1.json", "2.json", "3.csv", "4.json", "end"):
        put(tmp_path, name)
    stream = follow_directory(tmp_path, read, pattern="*.json", until="end", start="1.json")
    assert stream.position == "1.json"
    assert names(stream) == ["2.json", "4.json"]


def test_one_that_goes_on_neither_loses_nor_repeats_a_file(tmp_path):
    put(tmp_path, "b")
    first = follow_directory(tmp_path, read)
    next(first)
    put(tmp_path, "a")
    assert next(first)[0] == "a" and first.position == "b/a"
    for name in ("0", "c", "end"):
        put(tmp_path, name)
    (tmp_path / "b").unlink()
    second = follow_directory(tmp_path, read, until="end", start=first.position)
    assert names(second) == ["0", "c"] and second.position == "a/0/c"


def test_stop_ends_it_while_it_waits(tmp_path):
    put(tmp_path, "a")
    stream = follow_directory(tmp_path, read, poll_seconds=1000)
    found = []
    thread = threading.Thread(target=lambda: found.extend(stream))
    thread.start()
    while not found:
        pass
    stream.stop()
    thread.join()
    assert names(found) == ["a"]


@pytest.mark.parametrize("kept", [True, False])
def test_a_file_that_cannot_be_read_is_a_fault_and_the_stream_goes_on(tmp_path, kept):
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("a", "b", "end"):
        put(folder, name, "1" if name == "b" else "no number")
    quarantine = Quarantine(tmp_path / "bad.jsonl") if kept else None
    stream = follow_directory(
        folder, lambda path: int(path.read_text()), until="end", quarantine=quarantine
    )
    assert list(stream) == [1] and stream.failed == 1
    if kept:
        assert quarantine.by_reason == {"A file of the stream should be readable": 1}
        assert (
            "in/a" in quarantine.path.read_text()
            and "ValueError: inv" in quarantine.path.read_text()
        )


def test_what_is_remembered_is_what_is_there(tmp_path):
    stream = follow_directory(tmp_path, read, poll_seconds=0.01)
    for name in ("a", "b", "c"):
        put(tmp_path, name)
        assert next(stream)[0] == name
        (tmp_path / name).unlink()
    assert len(stream._done) <= 2 and stream.position in ("c", "b/c")


def test_rows_as_lines_of_json(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"x": [1, NaN], "id": "ä"}\n\n  {"x": \n[1]\n', encoding="utf-8")
    first, second, third = read_json_lines(path)
    assert first["id"] == "ä" and first["x"][1] != first["x"][1]
    assert second == '{"x":' and third == [1]
    path.write_bytes(b'{"id": 1}\n{"id": "\xff"}\n{"id": 2}\n')
    assert read_json_lines(path) == [{"id": 1}, '{"id": "\\xff"}', {"id": 2}]


def test_bad_arguments_are_named(tmp_path):
    (tmp_path / "file").touch()
    for arguments, message in [
        ({"folder": 3}, r"`folder` should be the path of a folder. Received: folder=3"),
        ({"folder": tmp_path / "file"}, r"`folder` should be a folder. Received: folder='/"),
        ({"read": None}, r"`read` should be a function of a path. Received: read=None"),
        ({"poll_seconds": 0}, r"`poll_seconds` should be a positive number of seconds"),
        ({"pattern": ""}, r"`pattern` should be one of names. Received: pattern=''"),
        ({"until": "a/b"}, r"`until` should be the name of a file or None. Received: until='a/b'"),
        ({"start": "a//b"}, r"`start` should be a `position` or None. Received: start='a//b'"),
    ]:
        with pytest.raises(ValueError, match=message):
            follow_directory(**{"folder": tmp_path, "read": read, **arguments})
