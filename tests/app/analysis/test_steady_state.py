from __future__ import annotations

import numpy as np
import pytest
from msgspec.structs import replace

from app.analysis.rows import StageRows, read_rows
from app.analysis.steady_state import compute_requests_in_flight, find_steady_state
from app.records.result import Window
from tests.fakes.queues import START_NS, build_stage_data, request_rows

WINDOW = Window(START_NS, START_NS + 20_000_000_000)
CLOSED = replace(build_stage_data(1, 20), kind="closed", concurrency=4, arrival_kind="closed")


def build_rows(starts_s: list[float], service_s: float) -> StageRows:
    return read_rows(request_rows(np.array(starts_s), np.full(len(starts_s), service_s)))


def build_client_rows(first_s: list[float], last_s: float = 20.0) -> StageRows:
    """Clients that start at `first_s` and send requests of 0.5 s one after another until `last_s`."""
    starts = sorted(start for first in first_s for start in np.arange(first, last_s, 0.5).tolist())
    return build_rows(starts, 0.5)


def test_steady_state_excludes_ramp_and_tail() -> None:
    """Four clients start 1.5 s apart; after 17 s only one of them continues."""
    starts = [start for first in (0, 1.5, 3, 4.5) for start in np.arange(first, 17, 0.5).tolist()]
    steady = find_steady_state(build_rows(sorted([*starts, *np.arange(17, 20, 0.5).tolist()]), 0.5), CLOSED, WINDOW)
    assert steady is not None
    assert (steady.window.start_ns - START_NS) / 1e9 == pytest.approx(4, abs=1.01)
    assert (steady.window.end_ns - START_NS) / 1e9 == pytest.approx(17, abs=1.01)
    assert steady.in_flight == pytest.approx(4)
    assert steady.metrics["completed_per_s"]["value"].value == pytest.approx(8, rel=0.06)
    assert steady.metrics["latency_ms"]["p50"].value == pytest.approx(500)
    assert "ttft_ms" not in steady.metrics


def test_level_stage_has_no_separate_steady_state() -> None:
    assert find_steady_state(build_client_rows([0.0] * 4), CLOSED, WINDOW) is None


def test_dip_in_middle_of_stage_does_not_split_steady_state() -> None:
    starts = [start for start in np.arange(0, 20, 0.5).tolist() if not 9 <= start < 11]
    assert find_steady_state(build_rows(starts, 0.5), CLOSED, WINDOW) is None


def test_ramp_longer_than_half_of_stage_leaves_no_steady_state() -> None:
    assert find_steady_state(build_client_rows([0.0, 12.0, 12.0, 12.0]), CLOSED, WINDOW) is None
    assert find_steady_state(build_rows([], 0.5), CLOSED, WINDOW) is None


@pytest.mark.parametrize("change", [{"kind": "varying"}, {"kind": "spike"}, {"stopped_early": True}])
def test_varying_spike_and_stopped_stages_have_no_steady_state(change: dict[str, object]) -> None:
    ramp = build_client_rows([0.0, 1.5, 3.0, 4.5])
    assert find_steady_state(ramp, CLOSED, WINDOW) is not None
    assert find_steady_state(ramp, replace(CLOSED, **change), WINDOW) is None


def test_requests_in_flight_are_time_weighted_mean() -> None:
    edges_ns = START_NS + np.array([0, 1, 2, 4], dtype=np.int64) * 1_000_000_000
    in_flight = compute_requests_in_flight(build_rows([0.0, 0.5, 1.5], 1.0), edges_ns)
    assert in_flight.tolist() == pytest.approx([1.5, 1.0, 0.25])
