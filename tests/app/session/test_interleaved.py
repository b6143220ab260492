from __future__ import annotations

import msgspec
import pytest

from app.errors import MeasurementError
from app.records.comparison import Side
from app.records.result import Result, Verdict
from app.session.interleaved import PairPlan, PairResults, PairRun, measure_interleaved
from tests.fakes.repeated import result, steady

QUIET_MS = (10.0, 10.1, 9.9, 10.05, 9.95, 10.02, 9.98)


class Bench:
    """Runs of 10 s each on a virtual clock; the candidate's latencies are `factor` times those of the baseline."""

    def __init__(self, factor: float, invalid: int = 0, workload: str = "asked") -> None:
        self.factor, self.invalid, self.workload = factor, invalid, workload
        self.now_s = 0.0
        self.order: list[Side] = []
        self.reported_pairs: list[tuple[int, int]] = []
        self.reported: list[str] = []

    def measure(self, turn: PairRun) -> Result | None:
        side, within_s = turn.side, turn.timeout_s
        self.now_s += min(10.0, within_s)
        if within_s < 10.0:
            return None
        self.order.append(side)
        self.reported_pairs.append((turn.pair, turn.pairs))
        value = QUIET_MS[len(self.order) // 2 % 7] * (self.factor if side == "candidate" else 1.0)
        measured = result(steady(value), run_id=f"{side}-{len(self.order)}")
        if side == "candidate":
            measured = msgspec.structs.replace(measured, workload_hash=self.workload)
        if self.invalid:
            self.invalid -= 1
            return msgspec.structs.replace(measured, verdict=Verdict("INVALID", ("too busy",)))
        return measured

    def turns(self, max_s: float = 3_600.0, pairs: int = 7) -> PairResults:
        order = PairPlan(pairs, max_s, 0.05)
        return measure_interleaved(order, self.measure, lambda: self.now_s, self.reported.append)


def test_baseline_and_candidate_alternate_in_running_first() -> None:
    bench = Bench(1.0)
    bench.turns(pairs=4)
    assert bench.order == ["baseline", "candidate", "candidate", "baseline"] * 2


@pytest.mark.parametrize(("factor", "pairs"), [(1.0, 7), (1.2, 14), (0.8, 14)])
def test_pairs_are_doubled_only_if_a_change_is_suspected(factor: float, pairs: int) -> None:
    turns = Bench(factor).turns()
    assert (len(turns.baseline), len(turns.candidate)) == (pairs, pairs)
    assert any("suspected" in note for note in turns.notes) == (pairs == 14)


@pytest.mark.parametrize(("max_s", "pairs"), [(100.0, 5), (95.0, 4), (210.0, 10), (5.0, 0)])
def test_no_pair_starts_that_would_exceed_the_time_limit(max_s: float, pairs: int) -> None:
    bench = Bench(1.2)
    turns = bench.turns(max_s)
    assert len(turns.baseline) == len(turns.candidate) == pairs
    assert len(bench.order) == 2 * pairs
    assert bench.now_s <= max_s
    assert "time limit was reached" in turns.notes[0]


def test_each_run_receives_the_number_of_its_pair_and_of_all_pairs() -> None:
    bench = Bench(1.2)
    bench.turns(pairs=5)
    assert bench.reported_pairs == [(index // 2 + 1, 5 if index < 10 else 10) for index in range(20)]


def test_invalid_run_is_repeated() -> None:
    bench = Bench(1.0, invalid=2)
    assert len(bench.turns(pairs=1).baseline) == 1
    assert bench.order == ["baseline", "baseline", "baseline", "candidate"]
    assert sum("is repeated: too busy" in line for line in bench.reported) == 2


def test_interleaved_measurement_fails_after_repeated_invalid_runs() -> None:
    with pytest.raises(MeasurementError, match="too busy"):
        Bench(1.0, invalid=3).turns()


def test_interleaved_measurement_ends_if_the_runs_are_not_comparable() -> None:
    turns = Bench(1.0, workload="other").turns()
    assert len(turns.baseline) == 1
