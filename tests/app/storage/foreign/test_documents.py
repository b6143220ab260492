from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from app.errors import UsageError
from app.storage.foreign import documents
from app.storage.foreign.documents import MAX_BYTES, open_document


def write_text(folder: Path, content: str, name: str = "results.json") -> Path:
    path = folder / name
    path.write_text(content)
    return path


def test_oversized_result_file_is_rejected(tmp_path: Path) -> None:
    path = tmp_path / "large.json"
    with path.open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    with pytest.raises(UsageError, match=r"large.json cannot be read as a curve: it is larger than 128 MiB"):
        open_document(path)


def test_oversized_result_table_is_rejected(tmp_path: Path) -> None:
    path = write_text(tmp_path, "offered_per_s,latency_ms.p95\n" + "\n" * (16 * 2**20), "large.csv")
    with pytest.raises(UsageError, match="it is a table larger than 16 MiB"):
        open_document(path)


@pytest.mark.skipif(sys.platform == "win32", reason="no FIFOs there")
def test_result_path_that_is_not_a_regular_file_is_rejected(tmp_path: Path) -> None:
    fifo = tmp_path / "pipe.json"
    os.mkfifo(fifo)
    with pytest.raises(UsageError, match="it is not a file"):
        open_document(fifo)


def test_duplicate_among_200000_json_keys_is_rejected(tmp_path: Path) -> None:
    """A search of each key among all others would take hours."""
    keys = ", ".join(f'"{at}": 0' for at in range(200_000))
    with pytest.raises(UsageError, match='the key "199999" is duplicated'):
        open_document(write_text(tmp_path, f'{{{keys}, "199999": 1}}'))


def test_number_of_concatenated_json_values_is_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "MAX_VALUES", 100)
    with pytest.raises(UsageError, match="more than 100 concatenated JSON values"):
        open_document(write_text(tmp_path, "{}\n" * 101))


def test_number_of_lists_and_objects_is_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "MAX_CONTAINERS", 100)
    assert open_document(write_text(tmp_path, "[" + "[]," * 98 + "[]]")).value is not None
    with pytest.raises(UsageError, match="more than 100 lists and objects"):
        open_document(write_text(tmp_path, "[" + "[]," * 99 + "[]]"))


def test_concatenated_json_objects_are_read_as_values(tmp_path: Path) -> None:
    document = open_document(write_text(tmp_path, ' {"a": 1}\r\n\n{"b":\n2}[3] '))
    assert document.values == ({"a": 1}, {"b": 2}, [3])
    assert document.value is None


def test_irregular_table_is_rejected_only_when_its_rows_are_read(tmp_path: Path) -> None:
    document = open_document(write_text(tmp_path, "Metric, avg ,\nLatency,1,\n\nMetric,Value\n"))
    assert document.header == ("Metric", "avg", "")
    with pytest.raises(UsageError, match="a line has 2 cells, but the header has 3"):
        document.rows()


def test_trailing_comma_of_a_csv_line_is_not_a_cell(tmp_path: Path) -> None:
    assert open_document(write_text(tmp_path, "a,b\n1, 2 ,\n")).rows() == [{"a": "1", "b": "2"}]
