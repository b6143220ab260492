from __future__ import annotations

from pathlib import Path

import pytest

from app.records.calibration import Calibration, MeasuredCapacity
from app.storage.calibrations import store_calibration
from app.wiring.calibrating import load_capacity_per_worker, parse_join_options
from app.wiring.dependencies import get_utc_now
from app.wiring.machine import inspect_machine
from loadgen.records import Join

pytestmark = pytest.mark.process


def test_join_options_are_parsed_with_token_and_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIZEWISE_TOKEN", "a secret of many letters")
    assert parse_join_options("[::1]:5557", None, "2m") == Join("::1", 5557, "a secret of many letters", 120.0)


def test_stored_capacity_is_divided_by_the_number_of_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIZEWISE_HOME", str(tmp_path))
    assert load_capacity_per_worker(2) == (None, None)
    fingerprint = inspect_machine()[0].fingerprint
    capacities = (
        MeasuredCapacity("plain", 1, 20_000.0, ()),
        MeasuredCapacity("plain", 2, 30_000.0, ()),
        MeasuredCapacity("streaming", 2, None, ()),
    )
    store_calibration(Calibration(capacities, get_utc_now().isoformat(), fingerprint, "timerfd", "uvloop"))
    assert load_capacity_per_worker(2) == (15_000.0, None)
    assert load_capacity_per_worker(3) == (None, None)
