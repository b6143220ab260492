from __future__ import annotations

import datetime
import json
from pathlib import Path

import pytest
from msgspec.structs import replace

from app.records.calibration import Calibration, LoadKind, MeasuredCapacity
from app.storage.calibrations import get_calibration_path, load_calibration, store_calibration

NOON = datetime.datetime(2026, 1, 2, 12, tzinfo=datetime.UTC)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SIZEWISE_HOME", str(tmp_path))
    return tmp_path


def measured(*cells: tuple[LoadKind, int, float], hours: float = 0.0, fingerprint: str = "f") -> Calibration:
    at = NOON + datetime.timedelta(hours=hours)
    ceilings = tuple(MeasuredCapacity(kind, workers, per_s, ()) for kind, workers, per_s in cells)
    return Calibration(ceilings, at.isoformat(timespec="seconds"), fingerprint, "timerfd", "uvloop")


def disturb(calibration: Calibration) -> Calibration:
    disturbed = tuple(replace(one, disturbed_by_cores=1.5) for one in calibration.capacities)
    return replace(calibration, capacities=disturbed)


def stored(hours: float, fingerprint: str = "f") -> dict[tuple[LoadKind, int], float | None] | None:
    """What still counts so many hours after noon."""
    found = load_calibration(fingerprint, NOON + datetime.timedelta(hours=hours))
    return None if found is None else {(one.kind, one.workers): one.per_s for one in found.capacities}


def test_one_more_ceiling_joins_those_of_the_same_machine() -> None:
    store_calibration(measured(("plain", 1, 10.0), ("plain", 2, 20.0)))
    store_calibration(measured(("streaming", 1, 30.0), ("plain", 2, 21.0), hours=2))
    assert stored(3) == {("plain", 1): 10.0, ("plain", 2): 21.0, ("streaming", 1): 30.0}


def test_together_they_are_as_old_as_the_oldest() -> None:
    store_calibration(measured(("plain", 1, 10.0)))
    store_calibration(measured(("plain", 2, 20.0), hours=20))
    assert stored(23.9) is not None
    assert stored(24.1) is None
    store_calibration(measured(("plain", 1, 11.0), hours=25))
    assert stored(26) == {("plain", 1): 11.0}, "what is too old is joined no more"


def test_one_measured_again_is_as_old_as_it_is() -> None:
    store_calibration(measured(("plain", 1, 10.0)))
    store_calibration(measured(("plain", 1, 11.0), hours=20))
    assert stored(40) == {("plain", 1): 11.0}


def test_another_machine_starts_anew() -> None:
    store_calibration(measured(("plain", 1, 10.0)))
    assert stored(1, fingerprint="g") is None
    store_calibration(measured(("plain", 2, 20.0), hours=1, fingerprint="g"))
    assert stored(2, fingerprint="g") == {("plain", 2): 20.0}


def test_one_from_the_future_does_not_count() -> None:
    store_calibration(measured(("plain", 1, 10.0), hours=1))
    assert stored(0) is None


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{}",
        '{"ceiling_per_s": 9000.0, "steps": [], "measured_at": "2026-01-02T12:00:00+00:00", "fingerprint": "f", '
        '"pacing": "timerfd", "event_loop": "uvloop"}',
        json.dumps({"capacities": [], "measured_at": "now", "fingerprint": "f", "pacing": "", "event_loop": ""}),
        json.dumps(
            {"capacities": [], "measured_at": "2026-01-02T12:00:00", "fingerprint": "f", "pacing": "", "event_loop": ""}
        ),
    ],
    ids=["empty", "nothing", "before there were workers", "no date", "a date of no zone"],
)
def test_what_cannot_be_read_counts_as_none(content: str) -> None:
    get_calibration_path().parent.mkdir(parents=True, exist_ok=True)
    get_calibration_path().write_text(content)
    assert stored(1) is None
    store_calibration(measured(("plain", 1, 10.0)))
    assert stored(1) == {("plain", 1): 10.0}


def test_a_disturbed_capacity_does_not_replace_an_undisturbed_one() -> None:
    store_calibration(measured(("plain", 1, 10.0)))
    both = measured(("plain", 1, 4.0), ("streaming", 1, 30.0), hours=1)
    store_calibration(disturb(both))
    assert stored(2) == {("plain", 1): 10.0, ("streaming", 1): 30.0}
    store_calibration(disturb(measured(("streaming", 1, 31.0), hours=2)))
    assert stored(3) == {("plain", 1): 10.0, ("streaming", 1): 31.0}
    store_calibration(measured(("streaming", 1, 40.0), hours=3))
    store_calibration(disturb(measured(("streaming", 1, 32.0), hours=4)))
    assert stored(5) == {("plain", 1): 10.0, ("streaming", 1): 40.0}


def test_a_disturbed_capacity_is_stored_as_such() -> None:
    store_calibration(disturb(measured(("plain", 1, 10.0))))
    calibration = load_calibration("f", NOON)
    assert calibration is not None
    assert [one.disturbed_by_cores for one in calibration.capacities] == [1.5]
    assert calibration.drop_disturbed().capacities == ()


def test_nothing_stored_is_nothing_known() -> None:
    assert stored(0) is None


def test_a_ceiling_is_found_by_its_kind_and_workers() -> None:
    known = measured(("plain", 1, 10.0), ("streaming", 2, 20.0))
    assert known.find_capacity("streaming", 2) == known.capacities[1]
    assert known.find_capacity("plain", 2) is None
    assert replace(known, capacities=()).find_capacity("plain", 1) is None
