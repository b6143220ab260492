from __future__ import annotations

import csv
import io

from app.cli.calibrate import format_calibration
from app.records.calibration import Calibration, CalibrationStep, LoadKind, MeasuredCapacity


def capacity(
    kind: LoadKind, workers: int, per_s: float | None, *, is_at_least: bool = False, disturbed: float | None = None
) -> MeasuredCapacity:
    tested_per_s = 8_000.0 if per_s is None else per_s
    load_point = CalibrationStep(tested_per_s, tested_per_s, 0.05, 0.8, 0.0, 0.6, passed=per_s is not None)
    return MeasuredCapacity(kind, workers, per_s, (load_point,), is_at_least, disturbed)


def format_capacities(*capacities: MeasuredCapacity) -> list[str]:
    return list(format_calibration(Calibration(capacities, "2026-01-02T12:00:00+00:00", "f", "timerfd", "uvloop")))


def test_each_capacity_is_a_row_with_its_usable_rate() -> None:
    table, *_, last = format_capacities(capacity("streaming", 1, 40_000.0), capacity("plain", 1, 20_000.0))
    header, _, plain, streaming = table.splitlines()
    assert header.split() == ["load", "workers", "capacity", "usable", "rate", "unit", "p99", "send", "delay", "ms",
                             "cores", "per", "worker"]  # fmt: skip
    assert plain.split() == ["plain", "1", "20,000", "14,000", "req/s", "0.8", "0.6"]
    assert streaming.split()[:5] == ["streaming", "1", "40,000", "28,000", "chunks/s"]
    assert "pacing: timerfd, event loop: uvloop" in last


def test_lower_capacity_with_more_workers_is_explained() -> None:
    notes = format_capacities(
        capacity("plain", 1, 20_000.0), capacity("plain", 2, 15_000.0), capacity("streaming", 1, 9_000.0)
    )[3:]
    (note,) = notes
    assert note.startswith(
        "note: 2 workers have a lower capacity than 1 here (plain), because the no-op server uses the same cores"
    )
    assert not format_capacities(capacity("plain", 1, 20_000.0), capacity("plain", 2, 35_000.0))[3:]
    disturbed_notes = format_capacities(capacity("plain", 1, 20_000.0), capacity("plain", 2, 15_000.0, disturbed=0.5))[
        3:
    ]
    assert [note for note in disturbed_notes if "uses the same cores" in note] == []


def test_capacity_that_is_a_lower_bound_is_marked() -> None:
    table, *_, note = format_capacities(capacity("plain", 4, 64_000.0, is_at_least=True))
    assert "≥ 64,000" in table
    assert note.startswith("note: ≥ marks")


def test_calibration_without_a_passing_rate_has_no_capacity() -> None:
    table, *_, note = format_capacities(capacity("plain", 1, None))
    assert table.splitlines()[-1].split()[:5] == ["plain", "1", "n/a", "n/a", "req/s"]
    assert "Stop other work" in note


def test_disturbed_calibration_has_a_note_with_the_other_load() -> None:
    table, _, pacing, *notes = format_capacities(
        capacity("plain", 1, 20_000.0), capacity("streaming", 2, 900.0, is_at_least=True, disturbed=2.04)
    )
    assert "≥ 900" in table
    assert pacing.endswith("stored and used for 24 hours")
    assert notes[0].startswith(
        "note: ≥ marks a lower bound: the limit was the no-op server, the highest tested rate or"
    )
    assert notes[1:] == [
        "note: streaming, 2 workers: other processes used 2.0 cores. Runs use the result only while this "
        "machine is busy. Stop these processes and calibrate again."
    ]


def test_note_of_missing_capacity_names_the_other_load() -> None:
    table, _, pacing, *notes = format_capacities(capacity("plain", 1, None, disturbed=1.96))
    assert "n/a" in table
    assert pacing == "pacing: timerfd, event loop: uvloop"
    assert notes == [
        "note: plain, 1 worker: other processes used 2.0 cores. Runs use the result only while this "
        "machine is busy. Stop these processes and calibrate again."
    ]


def test_calibration_csv_has_numbers_and_no_notes() -> None:
    capacities = (capacity("plain", 4, 64_123.456, is_at_least=True), capacity("streaming", 1, None))
    calibration = Calibration(capacities, "2026-01-02T12:00:00+00:00", "f", "timerfd", "uvloop")
    (text,) = format_calibration(calibration, "csv")
    first, second = csv.DictReader(io.StringIO(text))
    assert (first["capacity_per_s"], first["is_lower_bound"], first["unit"]) == ("64123.456", "true", "req/s")
    assert (second["capacity_per_s"], second["usable_per_s"], second["lag_p99_ms"]) == ("", "", "")
