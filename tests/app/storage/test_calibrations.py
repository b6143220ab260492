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


def build_calibration(*cells: tuple[LoadKind, int, float], hours: float = 0.0, fingerprint: str = "f") -> Calibration:
    at = NOON + datetime.timedelta(hours=hours)
    capacities = tuple(MeasuredCapacity(kind, workers, per_s, ()) for kind, workers, per_s in cells)
    return Calibration(capacities, at.isoformat(timespec="seconds"), fingerprint, "timerfd", "uvloop")


def disturb(calibration: Calibration) -> Calibration:
    disturbed = tuple(replace(capacity, disturbed_by_cores=1.5) for capacity in calibration.capacities)
    return replace(calibration, capacities=disturbed)


def load_capacities(hours: float, fingerprint: str = "f") -> dict[tuple[LoadKind, int], float | None] | None:
    """Return the capacities that are still valid `hours` after noon."""
    calibration = load_calibration(fingerprint, NOON + datetime.timedelta(hours=hours))
    return (
        None
        if calibration is None
        else {(capacity.kind, capacity.workers): capacity.per_s for capacity in calibration.capacities}
    )


def test_stored_capacity_is_merged_with_others_of_the_same_machine() -> None:
    store_calibration(build_calibration(("plain", 1, 10.0), ("plain", 2, 20.0)))
    store_calibration(build_calibration(("streaming", 1, 30.0), ("plain", 2, 21.0), hours=2))
    assert load_capacities(3) == {("plain", 1): 10.0, ("plain", 2): 21.0, ("streaming", 1): 30.0}


def test_merged_calibration_expires_with_its_oldest_capacity() -> None:
    store_calibration(build_calibration(("plain", 1, 10.0)))
    store_calibration(build_calibration(("plain", 2, 20.0), hours=20))
    assert load_capacities(23.9) is not None
    assert load_capacities(24.1) is None
    store_calibration(build_calibration(("plain", 1, 11.0), hours=25))
    assert load_capacities(26) == {("plain", 1): 11.0}, "an expired capacity is not merged"


def test_capacity_measured_again_has_its_new_age() -> None:
    store_calibration(build_calibration(("plain", 1, 10.0)))
    store_calibration(build_calibration(("plain", 1, 11.0), hours=20))
    assert load_capacities(40) == {("plain", 1): 11.0}


def test_calibration_of_another_machine_is_discarded() -> None:
    store_calibration(build_calibration(("plain", 1, 10.0)))
    assert load_capacities(1, fingerprint="g") is None
    store_calibration(build_calibration(("plain", 2, 20.0), hours=1, fingerprint="g"))
    assert load_capacities(2, fingerprint="g") == {("plain", 2): 20.0}


def test_calibration_from_the_future_is_ignored() -> None:
    store_calibration(build_calibration(("plain", 1, 10.0), hours=1))
    assert load_capacities(0) is None


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
def test_unreadable_calibration_is_ignored_and_replaced(content: str) -> None:
    get_calibration_path().parent.mkdir(parents=True, exist_ok=True)
    get_calibration_path().write_text(content)
    assert load_capacities(1) is None
    store_calibration(build_calibration(("plain", 1, 10.0)))
    assert load_capacities(1) == {("plain", 1): 10.0}


def test_disturbed_capacity_does_not_replace_an_undisturbed_capacity() -> None:
    store_calibration(build_calibration(("plain", 1, 10.0)))
    both = build_calibration(("plain", 1, 4.0), ("streaming", 1, 30.0), hours=1)
    store_calibration(disturb(both))
    assert load_capacities(2) == {("plain", 1): 10.0, ("streaming", 1): 30.0}
    store_calibration(disturb(build_calibration(("streaming", 1, 31.0), hours=2)))
    assert load_capacities(3) == {("plain", 1): 10.0, ("streaming", 1): 31.0}
    store_calibration(build_calibration(("streaming", 1, 40.0), hours=3))
    store_calibration(disturb(build_calibration(("streaming", 1, 32.0), hours=4)))
    assert load_capacities(5) == {("plain", 1): 10.0, ("streaming", 1): 40.0}


def test_disturbed_capacity_is_marked_in_the_stored_calibration() -> None:
    store_calibration(disturb(build_calibration(("plain", 1, 10.0))))
    calibration = load_calibration("f", NOON)
    assert calibration is not None
    assert [capacity.disturbed_by_cores for capacity in calibration.capacities] == [1.5]
    assert calibration.drop_disturbed().capacities == ()


def test_calibration_is_none_if_nothing_is_stored() -> None:
    assert load_capacities(0) is None


def test_capacity_is_selected_by_load_kind_and_number_of_workers() -> None:
    calibration = build_calibration(("plain", 1, 10.0), ("streaming", 2, 20.0))
    assert calibration.find_capacity("streaming", 2) == calibration.capacities[1]
    assert calibration.find_capacity("plain", 2) is None
    assert replace(calibration, capacities=()).find_capacity("plain", 1) is None
