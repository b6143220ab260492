from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from app.records.events import RunStarted
from app.reporting.run_rows import UNREADABLE, RunRow, matching, run_rows
from app.storage.control import CONTROL
from app.storage.labels import LABELS, add_tags
from app.storage.run_directory import EVENTS, RESULT, RunWriter, StoredRun
from app.storage.run_index import INDEX, known_rows
from app.storage.trash import delete_runs
from tests.fakes.results import full_run

WHOLE = full_run().result


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Three runs that ended, one that goes on."""
    monkeypatch.setenv("SIZEWISE_HOME", str(tmp_path))
    folder = tmp_path / "runs"
    for number in range(3):
        with RunWriter(folder / f"run-{number}") as writer:
            writer.write_result(replace(WHOLE, run_id=f"run-{number}"))
    with RunWriter(folder / "run-3") as writer:
        writer.append_event(RunStarted(1, "run-3", "test", str(folder), os.getpid()))
        yield folder


def test_a_row_tells_what_a_list_shows(home: Path) -> None:
    row = run_rows().rows[0]
    assert (row.run_id, row.name, row.verdict, row.url) == ("run-0", WHOLE.name, "WARN", WHOLE.target.urls[0])
    assert (row.carries, row.started_at, row.duration_s) == ("218/s", WHOLE.clock.wall_start, WHOLE.clock.duration_s)
    assert row.size_bytes == sum(path.stat().st_size for path in (home / "run-0").iterdir() if path.is_file())


def test_what_is_in_the_index_is_not_read_again(home: Path) -> None:
    before = run_rows()
    for number in range(3):
        path, facts = home / f"run-{number}" / RESULT, (home / f"run-{number}" / RESULT).stat()
        path.write_bytes(b"x" * facts.st_size)  # of the same size and time: only a reader would see it
        os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    assert run_rows() == before


def test_a_label_or_another_result_is_seen_at_once(home: Path) -> None:
    run_rows()
    add_tags(home / "run-1", ["nightly"])
    (home / "run-2" / RESULT).write_text("{")
    rows = run_rows().rows
    assert [row.tags for row in rows[:3]] == [(), ("nightly",), ()]
    assert rows[2].verdict == "unreadable"


def test_a_run_that_goes_on_is_never_from_the_index(home: Path) -> None:
    assert run_rows().rows[3].state == "running"
    (home / "run-3" / "control").rename(home / "taken away")
    try:
        assert run_rows().rows[3].state == "cut short"
    finally:
        (home / "taken away").rename(home / "run-3" / "control")


@pytest.mark.parametrize("damage", ["none", "no database", "gone"])
def test_a_deleted_or_damaged_index_is_made_again(home: Path, damage: str) -> None:
    before = run_rows()
    if damage == "no database":
        (home / INDEX).write_bytes(b"no database at all, " * 100)
    elif damage == "gone":
        (home / INDEX).unlink()
    assert run_rows() == before
    assert run_rows() == before
    assert (home / INDEX).exists()


def test_in_too_short_a_time_the_rest_is_told_to_be_unread_and_read_the_next_time(home: Path) -> None:
    times = iter([0.0, 0.0, 0.2, 0.2, 0.2])
    first = run_rows(within_s=0.1, now_s=lambda: next(times))
    assert [row.state for row in first.rows] == ["done", "not read yet", "not read yet", "not read yet"]
    assert first.unread == 3
    assert first.rows[1].run_id == "run-1"
    assert run_rows(within_s=60.0).unread == 0


def test_what_is_deleted_leaves_the_list_and_the_index(home: Path) -> None:
    run_rows()
    delete_runs([StoredRun(home / "run-0")], datetime.now(UTC))
    assert [row.run_id for row in run_rows().rows] == ["run-1", "run-2", "run-3"]
    assert set(known_rows()) == {"run-1", "run-2"}


def test_words_tags_and_trust_all_have_to_be_met() -> None:
    rows = [
        RunRow("1", "/1", name="chat", verdict="VALID", tags=("nightly", "l4"), url="http://10.0.0.7/v1"),
        RunRow("2", "/2", name="chat", verdict="WARN", tags=("nightly",)),
        RunRow("3", "/3", name="score", verdict="VALID"),
    ]

    def ids(**asked: object) -> str:
        return "".join(row.run_id for row in matching(rows, **asked))  # type: ignore[arg-type]

    assert ids() == "123"
    assert ids(words="CHAT night") == "12"
    assert ids(words="10.0.0.7") == "1"
    assert ids(tags=["nightly", "l4"]) == "1"
    assert ids(trust="VALID", words="score") == "3"
    assert ids(trust="INVALID") == ""


@pytest.mark.parametrize("pid", ["9" * 25, "9223372036854775807", "-1", "0", "1e300"])
def test_a_pid_that_no_system_has_hides_no_run(home: Path, pid: str) -> None:
    directory = home / "run-4"
    (directory / CONTROL).mkdir(parents=True)
    started = msgspec.json.encode(RunStarted(1, "run-4", "test", str(directory), 77))
    (directory / EVENTS).write_bytes(started.replace(b'"pid":77', b'"pid":' + pid.encode()) + b"\n")
    rows = {row.run_id: row for row in run_rows().rows}
    assert len(rows) == 5
    assert rows["run-4"].state != "running"
    assert rows["run-0"].verdict == "WARN"


@pytest.mark.parametrize("name", [LABELS, RESULT, EVENTS])
def test_a_byte_that_is_no_text_hides_no_run(home: Path, name: str) -> None:
    add_tags(home / "run-1", ["nightly"])
    path = home / "run-1" / name
    if name == EVENTS:
        (home / "run-1" / RESULT).unlink()
        path.write_bytes(b'{"type":"noted","at_ns":1,"text":"\xff"}\n')
    else:
        content = path.read_bytes()
        place = content.index(b"nightly") if name == LABELS else content.index(WHOLE.name.encode())
        path.write_bytes(content[:place] + b"\xff" + content[place + 1 :])
    rows = {row.run_id: row.verdict for row in run_rows().rows}
    assert rows == {"run-0": "WARN", "run-1": UNREADABLE, "run-2": "WARN", "run-3": None}


@pytest.mark.parametrize("column", ["CAST(? AS TEXT)", "CAST(? AS BLOB)", "1"])
@pytest.mark.parametrize("content", [b'{"run_id": "\xff", "directory": ""}', b"{}", b"[" * 100_000])
def test_an_index_row_that_cannot_be_read_is_made_again(home: Path, column: str, content: bytes) -> None:
    before = run_rows()
    with contextlib.closing(sqlite3.connect(home / INDEX)) as index, index:
        index.execute(f"UPDATE rows SET row = {column} WHERE ?1 IS NOT NULL AND name = 'run-1'", (content,))
    assert run_rows() == before
