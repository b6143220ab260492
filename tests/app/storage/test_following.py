from __future__ import annotations

from pathlib import Path

import msgspec
import pyarrow as pa

from app.records.events import Event, NoteAdded
from app.storage.following import EventFollower, StreamFollower
from app.storage.streams import StreamWriter

SCHEMA = pa.schema([("n", pa.int64())])


def line(number: int) -> bytes:
    return msgspec.json.encode(NoteAdded(number, f"note {number} – ü")) + b"\n"


def read_all(follower: EventFollower) -> list[int]:
    events: list[Event] = []
    while (event := follower.read_next()) is not None:
        events.append(event)
    return [event.at_ns for event in events]


def test_each_event_is_read_once_when_its_line_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    follower = EventFollower(path)
    assert read_all(follower) == [], "the file does not exist yet"
    content = b"".join(map(line, range(5)))
    received: list[int] = []
    with path.open("wb", buffering=0) as file:
        for at in range(len(content)):
            file.write(content[at : at + 1])
            fresh = read_all(follower)
            received += fresh
            assert received == list(range(content[: at + 1].count(b"\n")))
    assert received == [0, 1, 2, 3, 4]
    assert follower.damaged_count == 0


def test_many_events_are_read_in_order(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(b"".join(map(line, range(20_000))))
    assert read_all(EventFollower(path)) == list(range(20_000))


def test_damaged_event_line_is_counted_and_skipped(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    nested = b"[" * 100_000 + b"\n"
    path.write_bytes(line(0) + b'{"type": "of tomorrow"}\n\xff\xfe\n' + nested + line(1) + b'{"type": "no')
    follower = EventFollower(path)
    assert read_all(follower) == [0, 1]
    assert follower.damaged_count == 3


def batch(start: int) -> pa.RecordBatch:
    return pa.record_batch([pa.array(range(start, start + 3))], schema=SCHEMA)


def numbers(batches: list[pa.RecordBatch]) -> list[int]:
    return [number for record_batch in batches for number in record_batch["n"].to_pylist()]


def test_growing_stream_is_followed_batch_by_batch(tmp_path: Path) -> None:
    path = tmp_path / "rows.arrow"
    follower = StreamFollower(path)
    assert follower.read_batches(10) == []
    with StreamWriter(path, SCHEMA) as writer:
        assert follower.read_batches(10) == [], "the file has only the schema"
        writer.append(batch(0))
        assert numbers(follower.read_batches(10)) == [0, 1, 2]
        assert follower.read_batches(10) == []
        for start in (3, 6, 9):
            writer.append(batch(start))
        assert numbers(follower.read_batches(2)) == [3, 4, 5, 6, 7, 8], "at most the requested number of batches"
    assert numbers(follower.read_batches(10)) == [9, 10, 11]
    assert follower.read_batches(10) == [], "the end marker is not a batch"


def test_partially_written_batch_is_not_read_at_any_byte(tmp_path: Path) -> None:
    complete, growing = tmp_path / "whole.arrow", tmp_path / "growing.arrow"
    with StreamWriter(complete, SCHEMA) as writer:
        for start in (0, 3, 6):
            writer.append(batch(start))
    content = complete.read_bytes()
    follower, received = StreamFollower(growing), []
    with growing.open("wb", buffering=0) as file:
        for at in range(len(content)):
            file.write(content[at : at + 1])
            received += numbers(follower.read_batches(10))
            assert received == list(range(len(received)))
    assert received == list(range(9))
