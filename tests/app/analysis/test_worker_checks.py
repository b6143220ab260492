from __future__ import annotations

import pytest
from msgspec.structs import replace

from app.analysis.worker_checks import worker_checks
from app.records.result import Check, WorkerFacts
from tests.fakes.queues import START_NS, stage_facts


def worker(number: int, *, lost_s: float | None = None, residual_ms: float | None = None) -> WorkerFacts:
    """`lost_s` from the start of the stage's measured part."""
    lost_ns = None if lost_s is None else START_NS + round(lost_s * 1e9)
    return WorkerFacts(number, f"host{number % 2}", 100 + number, 0.1, 50, 0.2, residual_ms, lost_ns)


def checks(*workers: WorkerFacts, lead_in_s: float = 0.0) -> dict[str, Check]:
    found = worker_checks(replace(stage_facts(), workers=workers, lead_in_s=lead_in_s))
    return {check.id: check for check in found}


def test_one_worker_that_speaks_for_itself_is_not_judged() -> None:
    assert worker_checks(stage_facts()) == ()


def test_workers_that_stayed_and_share_a_clock_are_valid() -> None:
    found = checks(worker(0), worker(1))
    assert [(check.value, check.verdict) for check in found.values()] == [("2 of 2", "VALID"), ("one clock", "VALID")]


def test_a_worker_lost_in_the_stage_spoils_it() -> None:
    lost = checks(worker(0), worker(1), worker(2), worker(3, lost_s=2.34))["workers"]
    assert (lost.value, lost.limit, lost.verdict) == ("3 of 4", "4", "INVALID")
    assert lost.hint == (
        "Worker 3 on host1 was lost 2.3 s into the stage: a quarter of the load was not sent from then on."
    )


@pytest.mark.parametrize(
    ("workers", "part"),
    [
        ((worker(0), worker(1, lost_s=1)), "half of the load"),
        ((worker(0, lost_s=1),), "all of the load"),
        ((*map(worker, range(4)), worker(4, lost_s=1)), "1/5 of the load"),
        ((worker(0), worker(1, lost_s=1), worker(2, lost_s=2)), "2/3 of the load"),
        ((worker(0), worker(1, lost_s=-9), worker(2, lost_s=2)), "half of the load"),
    ],
)
def test_it_says_how_much_was_not_sent(workers: tuple[WorkerFacts, ...], part: str) -> None:
    lost = checks(*workers)["workers"]
    assert lost.verdict == "INVALID"
    assert f"{part} was not sent" in str(lost.hint)


def test_a_share_that_was_given_to_the_others_before_is_only_a_warning() -> None:
    lost = checks(worker(0), worker(1), worker(2), worker(3, lost_s=-3.0))["workers"]
    assert lost.verdict == "WARN"
    assert lost.hint == "Worker 3 on host1 was lost before the stage: the load is shared by 3 of 4 since."


def test_the_lead_in_is_part_of_the_stage() -> None:
    lost = checks(worker(0), worker(1, lost_s=-1.0), lead_in_s=2.0)["workers"]
    assert lost.verdict == "INVALID"
    assert "0.0 s into the stage" in str(lost.hint)


def test_of_one_lost_in_the_drain_only_answers_are_missing() -> None:
    lost = checks(worker(0), worker(1, lost_s=10.5))["workers"]
    assert lost.verdict == "INVALID"
    assert "answers that were still to come" in str(lost.hint)


@pytest.mark.parametrize(("residual_ms", "verdict"), [(0.2, "VALID"), (1.5, "WARN"), (11.0, "INVALID")])
def test_clocks_are_as_good_as_the_worst_of_them(residual_ms: float, verdict: str) -> None:
    clocks = checks(worker(0), worker(1, residual_ms=0.1), worker(2, residual_ms=residual_ms))["worker_clocks"]
    assert (clocks.value, clocks.unit, clocks.verdict) == (residual_ms, "ms", verdict)
