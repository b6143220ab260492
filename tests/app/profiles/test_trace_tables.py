from __future__ import annotations

import gzip
import tracemalloc
from pathlib import Path

import pytest

from app.errors import ProfileError
from app.profiles import trace_tables
from app.profiles.trace_tables import is_trace, read_table

WANTED = frozenset({"timestamp", "input_length"})


def written(folder: Path, name: str, content: bytes) -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("name", "is_one"),
    [("a.csv", True), ("a.CSV.gz", True), ("a.jsonl", True), ("a.v2.ndjson.GZ", True), ("a.yaml", False),
     ("csv", False), ("a.csv.zip", False), ("traffic.csv.yaml", False)],
)  # fmt: skip
def test_a_trace_is_known_by_its_name(name: str, is_one: bool) -> None:
    assert is_trace(Path(name)) is is_one


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz", "named-otherwise"])
def test_compressed_or_not_is_seen_by_the_content(tmp_path: Path, name: str) -> None:
    for content in (b"timestamp\n1\n2\n", gzip.compress(b"timestamp\n1\n2\n")):
        read = read_table(written(tmp_path, name, content), WANTED)
        assert read.table.column("timestamp").to_pylist() == [1, 2]
        assert read.first_line == 2


def test_several_gzip_members_are_one_file(tmp_path: Path) -> None:
    content = gzip.compress(b"timestamp\n1\n") + gzip.compress(b"2\n3\n")
    assert read_table(written(tmp_path, "a.csv.gz", content), WANTED).table.num_rows == 3


def test_json_lines_keep_the_columns_that_are_wanted(tmp_path: Path) -> None:
    content = b'{"Timestamp": 1, "other": {"a": [1]}, "input_length": 5}\r\n{"Timestamp": 2.5}\r\n\r\n'
    read = read_table(written(tmp_path, "a.jsonl", content), WANTED)
    assert read.table.to_pydict() == {"Timestamp": [1.0, 2.5], "input_length": [5.0, None]}
    assert read.first_line == 1


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.jsonl", b'{"timestamp": 1}\n{"timestamp": \n', "a.jsonl:2: not a JSON object"),
        ("a.jsonl", b"", "a.jsonl:1: not a JSON object"),
        ("a.jsonl", b"[1, 2]\n", "a.jsonl:1: not a JSON object"),
        ("a.jsonl", b'{"timestamp": 1}\n\n{"timestamp": 2}\n', "a.jsonl:2: not a JSON object"),
        ("a.jsonl", b'{"timestamp": 1}\n{"timestamp": NaN}\n', "a.jsonl:2: not a JSON object"),
        ("a.jsonl", b'{"timestamp": 1}\n{"timestamp": true}\n', "a.jsonl:2: not a JSON object"),
        ("a.jsonl", b'{"timestamp": 1}\n{"timestamp": "noon"}\n', "has a column of numbers and text"),
        ("a.jsonl", b"[" * 100_000 + b"\n", "a.jsonl:1: not a JSON object"),
        ("a.jsonl", b'{"x": ' + b"[" * 100_000 + b"\n", "a.jsonl:1: not a JSON object"),
        ("a.jsonl", b'{"timestamp": 1, "x": "' + b"y" * 2**20 + b'"}\n', "a.jsonl:1: this line is longer than 1 MiB"),
        ("a.jsonl", b'{"timestamp": 1}\n{"timestamp": "\xff"}\n', "a.jsonl:2: not a JSON object"),
        ("a.csv.gz", gzip.compress(b"timestamp\n1\n", mtime=0)[:-9], "ends inside its gzip stream"),
        ("a.csv.gz", b"\x1f\x8b\x08" + b"\x00" * 50, "not a gzip file|ends inside"),
        ("a.csv.gz", b"\x1f\x8bnonsense", "not a gzip file"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(tmp_path: Path, name: str, content: bytes, says: str) -> None:
    with pytest.raises(ProfileError, match=says) as caught:
        read_table(written(tmp_path, name, content), WANTED)
    assert len(str(caught.value)) < 300 + len(str(tmp_path))


def test_no_more_is_unpacked_than_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = written(tmp_path, "a.csv.gz", gzip.compress(b"timestamp\n" + b"1\n" * 10_000_000))
    assert bomb.stat().st_size < 100_000
    monkeypatch.setattr(trace_tables, "MAX_BYTES", 100_000)
    tracemalloc.start()
    with pytest.raises(ProfileError, match="larger than 1 GiB"):
        read_table(bomb, WANTED)
    assert tracemalloc.get_traced_memory()[1] < 2_000_000
    tracemalloc.stop()
    with pytest.raises(ProfileError, match="larger than 1 GiB"):
        read_table(written(tmp_path, "a.csv", b"timestamp\n" + b"1\n" * 60_000), WANTED)


def test_no_more_rows_are_read_than_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trace_tables, "MOST_ROWS", 5)
    assert read_table(written(tmp_path, "a.csv", b"timestamp\n" + b"1\n" * 5), WANTED).table.num_rows == 5
    with pytest.raises(ProfileError, match="has more than 5 rows"):
        read_table(written(tmp_path, "a.csv", b"timestamp\n" + b"1\n" * 6), WANTED)


def test_a_folder_and_a_file_that_is_not_there(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none.csv"):
        with pytest.raises(ProfileError):
            read_table(path, WANTED)


def test_json_lines_are_bounded_lower_than_rows_of_csv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trace_tables, "MAX_JSON_LINES", 3)
    (tmp_path / "many.jsonl").write_text('{"timestamp": 1}\n' * 5)
    with pytest.raises(ProfileError, match="more than 3 rows"):
        read_table(tmp_path / "many.jsonl", frozenset({"timestamp"}))
    (tmp_path / "many.csv").write_text("timestamp\n" + "1\n" * 5)
    assert read_table(tmp_path / "many.csv", frozenset({"timestamp"})).table.num_rows == 5
