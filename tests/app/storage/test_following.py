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


def taken(follower: EventFollower) -> list[int]:
    found: list[Event] = []
    while (event := follower.read_next()) is not None:
        found.append(event)
    return [event.at_ns for event in found]


def test_each_event_comes_once_as_soon_as_its_line_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    follower = EventFollower(path)
    assert taken(follower) == [], "there is no file yet"
    content = b"".join(map(line, range(5)))
    seen: list[int] = []
    with path.open("wb", buffering=0) as file:
        for at in range(len(content)):
            file.write(content[at : at + 1])
            fresh = taken(follower)
            seen += fresh
            assert seen == list(range(content[: at + 1].count(b"\n")))
    assert seen == [0, 1, 2, 3, 4]
    assert follower.damaged_count == 0


def test_more_than_one_reading_takes_at_once(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(b"".join(map(line, range(20_000))))
    assert taken(EventFollower(path)) == list(range(20_000))


def test_a_damaged_line_hides_no_other(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    nested = b"[" * 100_000 + b"\n"
    path.write_bytes(line(0) + b'{"type": "of tomorrow"}\n\xff\xfe\n' + nested + line(1) + b'{"type": "no')
    follower = EventFollower(path)
    assert taken(follower) == [0, 1]
    assert follower.damaged_count == 3


def batch(start: int) -> pa.RecordBatch:
    return pa.record_batch([pa.array(range(start, start + 3))], schema=SCHEMA)


def numbers(batches: list[pa.RecordBatch]) -> list[int]:
    return [number for one in batches for number in one["n"].to_pylist()]


def test_batches_come_once_while_they_are_written(tmp_path: Path) -> None:
    path = tmp_path / "rows.arrow"
    follower = StreamFollower(path)
    assert follower.read_batches(10) == []
    with StreamWriter(path, SCHEMA) as writer:
        assert follower.read_batches(10) == [], "only its schema"
        writer.append(batch(0))
        assert numbers(follower.read_batches(10)) == [0, 1, 2]
        assert follower.read_batches(10) == []
        for start in (3, 6, 9):
            writer.append(batch(start))
        assert numbers(follower.read_batches(2)) == [3, 4, 5, 6, 7, 8], "no more than it is asked for"
    assert numbers(follower.read_batches(10)) == [9, 10, 11]
    assert follower.read_batches(10) == [], "the mark of the end is no batch"


def test_a_batch_on_its_way_is_waited_for_at_every_byte(tmp_path: Path) -> None:
    whole, growing = tmp_path / "whole.arrow", tmp_path / "growing.arrow"
    with StreamWriter(whole, SCHEMA) as writer:
        for start in (0, 3, 6):
            writer.append(batch(start))
    content = whole.read_bytes()
    follower, seen = StreamFollower(growing), []
    with growing.open("wb", buffering=0) as file:
        for at in range(len(content)):
            file.write(content[at : at + 1])
            seen += numbers(follower.read_batches(10))
            assert seen == list(range(len(seen)))
    assert seen == list(range(9))
