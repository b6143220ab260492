import json
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from loadgen.payloads import datasets
from loadgen.payloads.datasets import (
    MAX_DRAWN_INDICES,
    DatasetError,
    DatasetReader,
    DatasetRow,
    draw_indices,
    encode_row,
)
from loadgen.workloads import Dataset, Popularity

MIB = 2**20
Format = Literal["jsonl", "csv", "parquet", "folder", "json"]


def read_cells(path: Path, format_: Format, limit_bytes: int = MIB) -> list[dict[str, object]]:
    return [row.cells for row in DatasetReader(Dataset(str(path), format_), limit_bytes)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "images"
    path.mkdir()
    (path / "b.png").write_bytes(b"bb")
    (path / "a.txt").write_bytes(b"a")
    return path


def test_json_lines_are_read_as_rows(tmp_path: Path) -> None:
    file = tmp_path / "d.jsonl"
    file.write_bytes(b'\xef\xbb\xbf{"a": 1}\n\n[1, 2]\r\n"text"\n{"a": null}')
    assert read_cells(file, "jsonl") == [{"a": 1}, {"value": [1, 2]}, {"value": "text"}, {"a": None}]


@pytest.mark.parametrize("chunk_bytes", [1, 2, 3, 7, 1 << 20])
def test_json_array_is_read_in_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk_bytes: int) -> None:
    elements: list[dict[str, object]] = [
        {"a": "[{", "b": ["}", {"c": '\\"]'}]}, {}, {"a": "\\\\"}, {"é": [[], [1]], "n": None},
    ]  # fmt: skip
    path = tmp_path / "rows.json"
    path.write_bytes(b" \n" + json.dumps(elements, indent=1).encode() + b"\n")
    monkeypatch.setattr(datasets, "_CHUNK_BYTES", max(chunk_bytes, 3))
    assert read_cells(path, "json") == elements


def test_csv_cells_are_strings(tmp_path: Path) -> None:
    file = tmp_path / "d.csv"
    file.write_text('id,say\r\n007,"two\nlines, ""quoted"""\r\n\r\n8,é\r\n')
    assert read_cells(file, "csv") == [{"id": "007", "say": 'two\nlines, "quoted"'}, {"id": "8", "say": "é"}]


def test_parquet_rows_are_read(tmp_path: Path) -> None:
    file = tmp_path / "d.parquet"
    pq.write_table(pa.table({"a": list(range(250)), "b": [["x"]] * 250}), file)
    cells = read_cells(file, "parquet")
    assert len(cells) == 250
    assert cells[249] == {"a": 249, "b": ["x"]}


def test_files_of_folder_are_rows_in_order_of_name(folder: Path) -> None:
    (folder / ".hidden").write_bytes(b"h")
    (folder / "deeper").mkdir()
    (folder / "link").symlink_to(folder / "a.txt")
    os.mkfifo(folder / "pipe")
    files = [(row.name, row.cells) for row in DatasetReader(Dataset(str(folder), "folder"), MIB)]
    assert files == [("a.txt", {"file": b"a"}), ("b.png", {"file": b"bb"}), ("link", {"file": b"a"})]


def test_link_out_of_folder_is_rejected(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"s")
    (folder / "link").symlink_to(tmp_path / "secret")
    with pytest.raises(DatasetError, match="is a symbolic link to a file outside the folder"):
        read_cells(folder, "folder")


@pytest.mark.parametrize(
    ("format_", "content", "row_count"),
    [("jsonl", b'{"a":1}\n' * 10, 5), ("csv", b"a,b\n" + b"1,2\n" * 10, 9)],
)
def test_dataset_is_truncated_to_rows_within_memory_limit(
    tmp_path: Path, format_: Format, content: bytes, row_count: int
) -> None:
    file = tmp_path / "d"
    file.write_bytes(content)
    truncated, complete = (
        DatasetReader(Dataset(str(file), format_), 40 if format_ == "jsonl" else 36),
        DatasetReader(Dataset(str(file), format_), MIB),
    )
    assert (len(list(truncated)), truncated.is_truncated) == (row_count, True)
    assert (len(list(complete)), complete.is_truncated) == (10, False)


def test_folder_is_truncated_to_files_within_memory_limit(folder: Path) -> None:
    reader = DatasetReader(Dataset(str(folder), "folder"), 2)
    assert ([row.name for row in reader], reader.is_truncated) == (["a.txt"], True)


@pytest.mark.parametrize(
    ("format_", "content", "message"),
    [
        ("jsonl", b"", "has no rows"),
        ("jsonl", b'{"a": 1}\n{"a": \n', "line 2: the line is not valid JSON"),
        ("jsonl", b"[" * 100_000, "line 1: the line is not valid JSON"),
        ("jsonl", b'"\xff"', "line 1: the line is not valid JSON"),
        ("csv", b"a,b\n", "has no rows"),
        ("csv", b"a,a\n1,2\n", "two columns"),
        ("csv", b"a,b\n1,2\n3\n", "line 3: the row has 1 cells, but the header has 2"),
        ("csv", b"a\n\xff\n", "line 2: the line is not valid UTF-8"),
        ("csv", b'a\n"never ended', "line 2: "),
        ("csv", b'a\n"x"y\n', "line 2: "),
        ("parquet", b"PAR1 not at all", "cannot be read as Parquet"),
        ("parquet", b"", "cannot be read as Parquet"),
        ("json", b"", "is not a JSON array of objects"),
        ("json", b'{"a": 1}', "is not a JSON array of objects"),
        ("json", b"[]", "has no rows"),
        ("json", b'["text", 5]', "has no rows"),
        ("json", b'[{"a": 1}, {"a": "]}', "the JSON array is truncated"),
        ("json", b'[{"a": 1}, {"a": 2]]', "element 2 is not a JSON object"),
        ("json", b'[{"a": 1}, [2]]', "element 2 is not a JSON object"),
        ("json", b"[" * 100_000, "the JSON array is truncated"),
    ],
)
def test_invalid_dataset_is_reported_with_file_and_line(
    tmp_path: Path, format_: Format, content: bytes, message: str
) -> None:
    file = tmp_path / "d"
    file.write_bytes(content)
    with pytest.raises(DatasetError, match=message) as error:
        read_cells(file, format_)
    assert str(file) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("format_", "start"), [("jsonl", b'"'), ("csv", b"a\n"), ("csv", b'a\n"' + b"x\n" * 600),
                                               ("json", b'[{"')])  # fmt: skip
def test_unterminated_row_is_rejected_at_row_size_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format_: Format, start: bytes
) -> None:
    monkeypatch.setattr(datasets, "MAX_ROW_BYTES", 1_000)
    file = tmp_path / "d"
    file.write_bytes(start + b"x" * 5_000)
    with pytest.raises(DatasetError, match=r"line \d+: |an element is longer than"):
        read_cells(file, format_)


@pytest.mark.parametrize("format_", ["jsonl", "csv", "parquet", "folder", "json"])
def test_missing_or_special_file_is_rejected(tmp_path: Path, format_: Format) -> None:
    for path in (tmp_path / "absent", Path("/dev/zero")):
        with pytest.raises(DatasetError, match=path.name):
            read_cells(path, format_)
    with pytest.raises(DatasetError):
        read_cells(Path("a\0b"), format_)


def test_row_larger_than_memory_limit_is_rejected(folder: Path) -> None:
    with pytest.raises(DatasetError, match="larger than the memory"):
        read_cells(folder, "folder", 0)


def test_row_is_encoded_unchanged_or_as_json_object(tmp_path: Path) -> None:
    file = tmp_path / "d.jsonl"
    file.write_bytes(b'  {"a":1.50,  "b":2}\n')
    assert [encode_row(row, is_csv=False) for row in DatasetReader(Dataset(str(file), "jsonl"), MIB)] == [
        b'{"a":1.50,  "b":2}'
    ]
    cells: dict[str, object] = {"n": "-1.50", "zip": "007", "on": "true", "none": "", "say": 'a"b'}
    assert encode_row(DatasetRow(cells, 1), is_csv=True) == b'{"n":-1.50,"zip":"007","on":true,"none":"","say":"a\\"b"}'
    assert encode_row(DatasetRow({"n": "1"}, 1), is_csv=False) == b'{"n":"1"}'


def draw(popularity: Popularity, count: int, seed: int) -> Sequence[int]:
    indices = draw_indices(popularity, count, seed)
    assert indices is not None
    return indices


def test_sequential_popularity_needs_no_drawn_indices() -> None:
    assert draw_indices(Popularity(), 10, 1) is None


@pytest.mark.parametrize("kind", ["uniform", "zipf"])
def test_drawn_indices_are_seeded_and_cover_all_requests(kind: Literal["uniform", "zipf"]) -> None:
    indices = draw(Popularity(kind), 10, 1)
    assert indices == draw(Popularity(kind), 10, 1) != draw(Popularity(kind), 10, 2)
    assert set(indices) == set(range(10))
    assert len(indices) == MAX_DRAWN_INDICES


def test_uniform_popularity_draws_each_request_equally_often() -> None:
    counts = Counter(draw(Popularity("uniform"), 10, 1))
    assert max(counts.values()) == pytest.approx(MAX_DRAWN_INDICES / 10, rel=0.1)


@pytest.mark.parametrize("exponent", [0.5, 1.0, 2.0, 1e6])
def test_zipf_popularity_draws_each_rank_by_its_weight(exponent: float) -> None:
    counts = [count for _, count in Counter(draw(Popularity("zipf", exponent), 10, 1)).most_common(3)]
    total = sum(k**-exponent for k in range(1, 11))
    expected = [MAX_DRAWN_INDICES * k**-exponent / total for k in (1, 2, 3)]
    assert [*counts, 0, 0][:3] == pytest.approx(expected, rel=0.05, abs=5)


def test_most_popular_request_depends_on_seed() -> None:
    favourites = {Counter(draw(Popularity("zipf"), 1_000, seed)).most_common(1)[0][0] for seed in range(5)}
    assert len(favourites) > 1
