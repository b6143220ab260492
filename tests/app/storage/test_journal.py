"""The journal has checksums of everything that a running engine writes, to detect damage in a killed run."""

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


def write_journal(directory: Path) -> dict[str, int]:
    """Write a whole file and two alternating appends to each of two streams; return the sizes of the streams."""
    journal = Journal(directory)
    journal.replace(SPEC, b"name: x\n")
    (directory / SPEC).write_bytes(b"name: x\n")
    with UnbufferedFile(directory / EVENTS) as events, UnbufferedFile(directory / TELEMETRY) as telemetry:
        for content in (b"first", b"second one"):
            journal.append(events, content)
            journal.append(telemetry, content * 3)
    journal.close()
    return {EVENTS: 15, TELEMETRY: 45}


def test_undamaged_run_is_verified_by_its_journal(tmp_path: Path) -> None:
    assert verify_journal(tmp_path) is None
    sizes = write_journal(tmp_path)
    verified = verify_journal(tmp_path)
    assert verified is not None
    assert (verified.intact_bytes, verified.truncated, verified.changed, verified.is_journal_intact) == (
        sizes,
        frozenset(),
        frozenset(),
        True,
    )
    assert verified.file_names == {SPEC, EVENTS, TELEMETRY}


def test_single_partial_append_of_a_killed_engine_is_not_damage(tmp_path: Path) -> None:
    """The last line of the journal is about telemetry, so all appends to events are complete."""
    write_journal(tmp_path)
    with (tmp_path / JOURNAL).open("ab") as journal:
        journal.write(b"12345678 30 eve")
    for size in (45, 44, 16, 15):
        with (tmp_path / TELEMETRY).open("r+b") as file:
            file.truncate(size)
        verified = verify_journal(tmp_path)
        assert verified is not None
        assert (verified.truncated, verified.changed, verified.is_journal_intact) == (frozenset(), frozenset(), True)
        assert verified.intact_bytes[TELEMETRY] == (45 if size == 45 else 15)


@pytest.mark.parametrize(
    ("name", "damage", "intact_bytes"),
    [
        (TELEMETRY, lambda content: content[:14], 0),
        (EVENTS, lambda content: content[:14], 5),
        (TELEMETRY, lambda content: content[:20] + b"?" + content[21:], 15),
        (EVENTS, lambda content: b"?" + content[1:], 0),
    ],
)
def test_damaged_file_is_reported_with_its_number_of_intact_bytes(
    tmp_path: Path, name: str, damage: Callable[[bytes], bytes], intact_bytes: int
) -> None:
    write_journal(tmp_path)
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(damage(content))
    verified = verify_journal(tmp_path)
    assert verified is not None
    assert verified.truncated | verified.changed == {name}
    assert (name in verified.truncated) == (len(damage(content)) < len(content))
    assert verified.intact_bytes[name] == intact_bytes


def test_damage_of_a_whole_file_or_of_the_journal_is_detected(tmp_path: Path) -> None:
    write_journal(tmp_path)
    lines = (tmp_path / JOURNAL).read_bytes()
    (tmp_path / SPEC).write_bytes(b"name: y\n")
    verified = verify_journal(tmp_path)
    assert verified is not None
    assert verified.changed == {SPEC}
    (tmp_path / SPEC).write_bytes(b"name: x\n")
    for at in range(len(lines)):
        for damaged in (lines[:at], lines[:at] + bytes([lines[at] ^ 1]) + lines[at + 1 :]):
            (tmp_path / JOURNAL).write_bytes(damaged)
            verified = verify_journal(tmp_path)
            assert verified is not None
            is_detected = verified.truncated or verified.changed or not verified.is_journal_intact
            # Like an engine killed during its last append; the written part is used.
            is_last_append_longer = len(damaged) == len(lines) and at > lines[:-1].rindex(b"\n")
            assert is_detected or is_last_append_longer, (at, damaged)


def test_journal_line_that_ends_beyond_the_next_line_is_damage(tmp_path: Path) -> None:
    write_journal(tmp_path)
    content = (tmp_path / JOURNAL).read_bytes()
    (tmp_path / JOURNAL).write_bytes(content.replace(b" 5 events.jsonl", b" 55 events.jsonl"))
    verified = verify_journal(tmp_path)
    assert verified is not None
    assert not verified.is_journal_intact


def test_append_that_exceeds_the_disk_space_does_not_damage_the_run(tmp_path: Path) -> None:
    with RunWriter(tmp_path / "run") as writer:
        writer.append_event(PhaseChanged(1, "doctor", "fits"))
        with largest_file(2_000), pytest.raises(OSError, match="too large"):
            writer.append_event(PhaseChanged(2, "doctor", "long" * 1_000))
        writer.append_event(PhaseChanged(3, "doctor", "fits again"))
    run = StoredRun(tmp_path / "run")
    assert run.damage == ()
    assert [event.at_ns for event in run.events()] == [1, 3]


def test_concurrent_appends_are_journaled_correctly(tmp_path: Path) -> None:
    with RunWriter(tmp_path / "run") as writer:

        def append() -> None:
            for at in range(200):
                writer.append_event(PhaseChanged(at, "doctor", "x" * 99))

        threads = [threading.Thread(target=append) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    verified = verify_journal(tmp_path / "run")
    assert verified is not None
    assert verified.intact_bytes[EVENTS] == (tmp_path / "run" / EVENTS).stat().st_size
    assert StoredRun(tmp_path / "run").damage == ()
    assert StoredRun(tmp_path / "run").unverified_files == ()


@pytest.mark.parametrize(
    "content",
    [b"12345678 8 spec.yaml\n" * 200_000, b"0" * 2_000_000, b"12345678 5 ../../etc/passwd\n", b"\xff\n\xff",
     b"12345678 999999999999999 events.jsonl\n" * 50_000, b"12345678 0 events.jsonl\n" * 50_000],
    ids=["a file many times", "a long line", "another folder", "no text", "past the end", "no growth"],
)  # fmt: skip
def test_malicious_journal_is_rejected_within_5_s(tmp_path: Path, content: bytes) -> None:
    write_journal(tmp_path)
    (tmp_path / JOURNAL).write_bytes(content)
    start_s = time.process_time()
    verified = verify_journal(tmp_path)
    assert time.process_time() - start_s < 5
    assert verified is not None
    assert verified.changed or not verified.is_journal_intact


def test_folder_instead_of_the_journal_is_damage(tmp_path: Path) -> None:
    write_journal(tmp_path)
    (tmp_path / JOURNAL).unlink()
    (tmp_path / JOURNAL).mkdir()
    verified = verify_journal(tmp_path)
    assert verified is not None
    assert not verified.is_journal_intact
