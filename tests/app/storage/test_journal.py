"""What a running engine writes has checksums at once, so that damage in a killed run shows."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from app.records.events import PhaseChanged
from app.storage.journal import Journal, verify_journal
from app.storage.names import EVENTS, JOURNAL, SPEC, TELEMETRY
from app.storage.run_directory import RunWriter, StoredRun
from app.storage.unbuffered_file import UnbufferedFile
from tests.fakes.disk import largest_file


def appended(directory: Path) -> dict[str, int]:
    """Two appends to each of two streams and a whole file, in turns; their sizes."""
    journal = Journal(directory)
    journal.replace(SPEC, b"name: x\n")
    (directory / SPEC).write_bytes(b"name: x\n")
    with UnbufferedFile(directory / EVENTS) as events, UnbufferedFile(directory / TELEMETRY) as telemetry:
        for content in (b"first", b"second one"):
            journal.append(events, content)
            journal.append(telemetry, content * 3)
    journal.close()
    return {EVENTS: 15, TELEMETRY: 45}


def test_what_was_written_is_verified(tmp_path: Path) -> None:
    assert verify_journal(tmp_path) is None
    sizes = appended(tmp_path)
    found = verify_journal(tmp_path)
    assert found is not None
    assert (found.intact_bytes, found.truncated, found.changed, found.is_journal_intact) == (
        sizes,
        frozenset(),
        frozenset(),
        True,
    )
    assert found.file_names == {SPEC, EVENTS, TELEMETRY}


def test_a_killed_engine_leaves_one_append_that_is_not_whole(tmp_path: Path) -> None:
    """The last line of the journal is of telemetry, so events have all of theirs."""
    appended(tmp_path)
    with (tmp_path / JOURNAL).open("ab") as journal:
        journal.write(b"12345678 30 eve")
    for size in (45, 44, 16, 15):
        with (tmp_path / TELEMETRY).open("r+b") as file:
            file.truncate(size)
        found = verify_journal(tmp_path)
        assert found is not None
        assert (found.truncated, found.changed, found.is_journal_intact) == (frozenset(), frozenset(), True)
        assert found.intact_bytes[TELEMETRY] == (45 if size == 45 else 15)


@pytest.mark.parametrize(
    ("name", "damage", "whole"),
    [
        (TELEMETRY, lambda content: content[:14], 0),
        (EVENTS, lambda content: content[:14], 5),
        (TELEMETRY, lambda content: content[:20] + b"?" + content[21:], 15),
        (EVENTS, lambda content: b"?" + content[1:], 0),
    ],
)
def test_damage_is_reported_with_the_bytes_before_it(
    tmp_path: Path, name: str, damage: Callable[[bytes], bytes], whole: int
) -> None:
    appended(tmp_path)
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(damage(content))
    found = verify_journal(tmp_path)
    assert found is not None
    assert found.truncated | found.changed == {name}
    assert (name in found.truncated) == (len(damage(content)) < len(content))
    assert found.intact_bytes[name] == whole


def test_a_whole_file_and_the_journal_itself_are_checked(tmp_path: Path) -> None:
    appended(tmp_path)
    lines = (tmp_path / JOURNAL).read_bytes()
    (tmp_path / SPEC).write_bytes(b"name: y\n")
    found = verify_journal(tmp_path)
    assert found is not None
    assert found.changed == {SPEC}
    (tmp_path / SPEC).write_bytes(b"name: x\n")
    for at in range(len(lines)):
        for damaged in (lines[:at], lines[:at] + bytes([lines[at] ^ 1]) + lines[at + 1 :]):
            (tmp_path / JOURNAL).write_bytes(damaged)
            found = verify_journal(tmp_path)
            assert found is not None
            is_noticed = found.truncated or found.changed or not found.is_journal_intact
            # As where the engine was killed in its last append, which is used as far as it is there.
            is_last_append_longer = len(damaged) == len(lines) and at > lines[:-1].rindex(b"\n")
            assert is_noticed or is_last_append_longer, (at, damaged)


def test_a_line_of_the_journal_that_ends_beyond_the_next_one_is_damage(tmp_path: Path) -> None:
    appended(tmp_path)
    content = (tmp_path / JOURNAL).read_bytes()
    (tmp_path / JOURNAL).write_bytes(content.replace(b" 5 events.jsonl", b" 55 events.jsonl"))
    found = verify_journal(tmp_path)
    assert found is not None
    assert not found.is_journal_intact


def test_an_append_that_does_not_fit_on_the_disk_leaves_the_run_whole(tmp_path: Path) -> None:
    with RunWriter(tmp_path / "run") as writer:
        writer.append_event(PhaseChanged(1, "doctor", "fits"))
        with largest_file(2_000), pytest.raises(OSError, match="too large"):
            writer.append_event(PhaseChanged(2, "doctor", "long" * 1_000))
        writer.append_event(PhaseChanged(3, "doctor", "fits again"))
    run = StoredRun(tmp_path / "run")
    assert run.damage == ()
    assert [event.at_ns for event in run.events()] == [1, 3]


def test_appends_of_several_threads_do_not_mix(tmp_path: Path) -> None:
    with RunWriter(tmp_path / "run") as writer:

        def append() -> None:
            for at in range(200):
                writer.append_event(PhaseChanged(at, "doctor", "x" * 99))

        threads = [threading.Thread(target=append) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    found = verify_journal(tmp_path / "run")
    assert found is not None
    assert found.intact_bytes[EVENTS] == (tmp_path / "run" / EVENTS).stat().st_size
    assert StoredRun(tmp_path / "run").damage == ()
    assert StoredRun(tmp_path / "run").unverified_files == ()


@pytest.mark.parametrize(
    "content",
    [b"12345678 8 spec.yaml\n" * 200_000, b"0" * 2_000_000, b"12345678 5 ../../etc/passwd\n", b"\xff\n\xff",
     b"12345678 999999999999999 events.jsonl\n" * 50_000, b"12345678 0 events.jsonl\n" * 50_000],
    ids=["a file many times", "a long line", "another folder", "no text", "past the end", "no growth"],
)  # fmt: skip
def test_a_journal_of_anybodys_is_read_in_short_time(tmp_path: Path, content: bytes) -> None:
    appended(tmp_path)
    (tmp_path / JOURNAL).write_bytes(content)
    began_s = time.process_time()
    found = verify_journal(tmp_path)
    assert time.process_time() - began_s < 5
    assert found is not None
    assert found.changed or not found.is_journal_intact


def test_a_folder_in_the_place_of_the_journal_is_damage(tmp_path: Path) -> None:
    appended(tmp_path)
    (tmp_path / JOURNAL).unlink()
    (tmp_path / JOURNAL).mkdir()
    found = verify_journal(tmp_path)
    assert found is not None
    assert not found.is_journal_intact
