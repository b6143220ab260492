from typing import Literal

import numpy as np
import pytest

from loadgen.arrivals import Offsets, compute_offsets_ns
from loadgen.records import OpenArrivals, StageLoad, StagePlan, TraceArrivals, WorkerShare
from loadgen.worker.traffic import Schedule, compute_share_size

POISSON = OpenArrivals("poisson", ((0.0, 500.0), (2.0, 100.0)))


def plan(
    arrivals: OpenArrivals | TraceArrivals = POISSON, *, lead_in_s: float = 0.0, max_requests: int | None = None
) -> StagePlan:
    return StagePlan(0, "s", StageLoad(arrivals, 2.0, lead_in_s=lead_in_s, max_requests=max_requests), 7)


def change_rate(schedule: Schedule, rate_per_s: float, at_ns: int, number: int = 1) -> Offsets:
    later = schedule.change_rate(rate_per_s, at_ns, number)
    assert later is not None
    return later


@pytest.mark.parametrize("workers", [1, 2, 3, 4])
@pytest.mark.parametrize("lead_in_s", [0.0, 0.5])
def test_shares_of_workers_divide_schedule_in_turn(workers: int, lead_in_s: float) -> None:
    all_offsets = compute_offsets_ns(POISSON, 2.0, lead_in_s, 7)
    shares = [Schedule(plan(lead_in_s=lead_in_s), WorkerShare(index, workers)).own_offsets for index in range(workers)]
    combined = np.empty(len(all_offsets), np.int64)
    for index, own in enumerate(shares):
        combined[index::workers] = own
    assert combined.tolist() == all_offsets.tolist()


def test_max_requests_apply_to_all_shares_together() -> None:
    counts = [len(Schedule(plan(max_requests=10), WorkerShare(index, 4)).own_offsets) for index in range(4)]
    assert counts == [compute_share_size(10, WorkerShare(index, 4)) for index in range(4)] == [3, 3, 2, 2]
    assert compute_share_size(2, WorkerShare(3, 4)) == 0


@pytest.mark.parametrize("workers", [1, 2, 3, 5])
def test_changed_rate_continues_division_among_shares(workers: int) -> None:
    def list_arrivals(share: WorkerShare) -> list[tuple[int, int]]:
        schedule = Schedule(plan(), share)
        own = schedule.own_offsets.tolist()
        for number, (at_ns, rate_per_s) in enumerate(((300_000_000, 800.0), (900_000_000, 50.0)), start=1):
            later = change_rate(schedule, rate_per_s, at_ns, number)
            own = [at for at in own if at < at_ns] + (later + at_ns).tolist()
        return [(share.index + share.worker_count * n, at) for n, at in enumerate(own)]

    single_worker = list_arrivals(WorkerShare())
    assert (
        sorted(arrival for index in range(workers) for arrival in list_arrivals(WorkerShare(index, workers)))
        == single_worker
    )


def test_changed_rate_respects_max_requests_and_begins_with_gap() -> None:
    schedule = Schedule(plan(OpenArrivals("constant", ((0.0, 100.0),)), max_requests=40), WorkerShare())
    later = change_rate(schedule, 1_000.0, 205_000_000)
    assert later.tolist() == [n * 1_000_000 for n in range(1, 20)]


def test_each_rate_change_draws_new_arrivals() -> None:
    first, second = (change_rate(Schedule(plan(), WorkerShare()), 500.0, 0, number) for number in (1, 2))
    assert first.tolist() != second.tolist()
    assert first.tolist() == change_rate(Schedule(plan(), WorkerShare()), 500.0, 0).tolist()


def test_number_of_arrivals_of_extreme_rate_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("loadgen.worker.traffic._MAX_DRAWN_ARRIVALS", 1_000)
    later = change_rate(Schedule(plan(OpenArrivals("constant", ((0.0, 1.0),))), WorkerShare()), 1e12, 0)
    assert len(later) <= 1_000


def test_trace_schedule_ignores_rate_change() -> None:
    trace = TraceArrivals(np.array([0, 5, 9], "<i8").tobytes())
    assert Schedule(plan(trace), WorkerShare(1, 2)).own_offsets.tolist() == [5]
    assert Schedule(plan(trace), WorkerShare(1, 2)).change_rate(10.0, 3, 1) is None


def steady(
    rate: float, process: Literal["constant", "poisson"] = "constant", *, max_requests: int | None = None
) -> StagePlan:
    """Return a plan of one second."""
    return StagePlan(0, "s", StageLoad(OpenArrivals(process, ((0.0, rate),)), 1.0, max_requests=max_requests), 7)


def extend(schedule: Schedule, duration_s: float, number: int = 1) -> Offsets:
    later = schedule.extend(duration_s, number)
    assert later is not None
    return later


@pytest.mark.parametrize("worker_count", [1, 3, 4])
def test_extended_constant_schedule_has_no_gap_for_any_worker_count(worker_count: int) -> None:
    schedules = [Schedule(steady(30), WorkerShare(index, worker_count)) for index in range(worker_count)]
    own = [np.concatenate([schedule.own_offsets, extend(schedule, 2.5)]) for schedule in schedules]
    together = np.sort(np.concatenate(own))
    assert np.diff(together) == pytest.approx(1e9 / 30, abs=2)
    assert len(together) == 75
    for index, share_offsets in enumerate(own):
        assert share_offsets.tolist() == together[index::worker_count].tolist()


def test_shares_of_extension_add_up_to_extension_of_single_worker() -> None:
    single_worker, before = (
        Schedule(steady(200, "poisson"), WorkerShare()),
        Schedule(steady(200, "poisson"), WorkerShare()).own_offsets,
    )
    shares = [Schedule(steady(200, "poisson"), WorkerShare(index, 4)) for index in range(4)]
    later = extend(single_worker, 3.0)
    assert np.sort(np.concatenate([extend(share, 3.0) for share in shares])).tolist() == later.tolist()
    assert later.min() >= 1e9
    assert later.max() < 3e9
    assert len(later) == pytest.approx(400, abs=4 * 400**0.5)
    assert np.concatenate([before, later]).tolist() == single_worker.own_offsets.tolist()
    assert extend(Schedule(steady(200, "poisson"), WorkerShare()), 3.0, number=2).tolist() != later.tolist()


def test_changed_rate_applies_to_extension() -> None:
    schedule = Schedule(steady(100), WorkerShare())
    schedule.change_rate(50.0, 500_000_000, 1)
    assert np.diff(extend(schedule, 2.0, 2)) == pytest.approx(2e7, abs=2)
    assert len(change_rate(schedule, 10.0, 1_000_000_000, 3)) == pytest.approx(10, abs=1)


def test_max_requests_apply_to_extension() -> None:
    schedule = Schedule(steady(100, max_requests=120), WorkerShare())
    assert len(extend(schedule, 2.0)) == 20
    assert len(extend(schedule, 3.0, 2)) == 0


def test_trace_and_shorter_duration_are_not_extended() -> None:
    trace = TraceArrivals(np.array([0, 5], "<i8").tobytes())
    assert Schedule(plan(trace), WorkerShare()).extend(9.0, 1) is None
    assert Schedule(steady(100), WorkerShare()).extend(1.0, 1) is None
