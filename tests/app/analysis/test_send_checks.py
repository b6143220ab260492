from __future__ import annotations

import heapq
import math
from collections.abc import Callable

import numpy as np
import pytest
from msgspec.structs import replace

from app.analysis.rows import offered_window, read_rows
from app.analysis.send_checks import in_step_check, never_started_check
from app.records.result import ArrivalKind, Check
from app.records.stage import StageFacts
from tests.fakes.queues import constant_s, request_rows, stage_facts

Draw = Callable[[], float]


def clients(count: int, arrivals: ArrivalKind = "closed") -> StageFacts:
    return replace(stage_facts(1, 10, kind="closed", arrivals=arrivals), rate_per_s=None, concurrency=count)


def sends_s(
    count: int, *, servers: float, service: Draw, think: Draw = lambda: 0.0, until_s: float = 10.0
) -> list[float]:
    """Clients of a closed loop that all start at 0, before so many servers, first come first served."""
    waiting = [0.0] * count
    free = [0.0] * int(min(servers, count))
    sent = []
    while (at := heapq.heappop(waiting)) < until_s:
        sent.append(at)
        end = max(at, heapq.heappop(free)) + service()
        heapq.heappush(free, end)
        heapq.heappush(waiting, end + think())
    return sent


def in_step(count: int, sent: list[float], facts: StageFacts | None = None) -> Check | None:
    read = read_rows(request_rows(np.array(sent), np.full(len(sent), 0.001)))
    facts = facts or clients(count)
    found = in_step_check(read.sent_ns, facts, offered_window(read, facts))
    return found[0] if found else None


@pytest.mark.parametrize("count", [2, 8, 100, 1000])
def test_clients_of_a_server_that_takes_all_alike_and_any_number_stay_in_step(count: int) -> None:
    found = in_step(count, sends_s(count, servers=math.inf, service=lambda: 0.1))
    assert found is not None
    assert found.verdict == "WARN"
    assert found.value == pytest.approx(1.0)
    assert "pause" in str(found.hint)


@pytest.mark.parametrize("count", [2, 3, 16, 64])
def test_clients_of_one_server_take_turns(count: int) -> None:
    found = in_step(count, sends_s(count, servers=1, service=lambda: 0.1 / count))
    assert found is not None
    assert found.verdict == "VALID"
    assert isinstance(found.value, float)
    assert found.value < 0.1


@pytest.mark.parametrize("count", [2, 8, 100])
@pytest.mark.parametrize("servers", [math.inf, 1])
def test_clients_that_think_by_chance_know_nothing_of_each_other(count: int, servers: float) -> None:
    rng = np.random.default_rng(count)
    think: Draw = lambda: float(rng.exponential(0.2))  # noqa: E731
    found = in_step(count, sends_s(count, servers=servers, service=lambda: 0.2 / count, think=think))
    assert found is not None
    assert found.verdict == "VALID"


def test_answers_that_vary_set_clients_apart() -> None:
    """Exponential service: each cycle loses the phase of the one before."""
    rng = np.random.default_rng(5)
    found = in_step(32, sends_s(32, servers=math.inf, service=lambda: float(rng.exponential(0.1))))
    assert found is not None
    assert found.verdict == "VALID"


def test_a_server_that_answers_in_batches_of_changing_length_keeps_them_in_step() -> None:
    """No period to find: only sends of the same cycle are compared."""
    rng = np.random.default_rng(6)
    starts = np.cumsum(rng.uniform(0.05, 0.15, 90))
    found = in_step(16, sorted(np.repeat(starts, 16) + rng.uniform(0, 0.001, 16 * 90)))
    assert found is not None
    assert found.verdict == "WARN"


@pytest.mark.parametrize(("servers", "verdict"), [(4, "VALID"), (24, "WARN")])
def test_groups_as_large_as_the_servers_are_as_far_in_step_as_they_are_large(servers: int, verdict: str) -> None:
    """Of 32 clients, as many as there are servers are answered and send together: (k − 1) of 31 others."""
    found = in_step(32, sends_s(32, servers=servers, service=lambda: 0.05))
    assert found is not None
    assert found.verdict == verdict


def test_users_of_a_locust_test_are_looked_at_too_and_open_loops_are_not() -> None:
    sent = sends_s(8, servers=math.inf, service=lambda: 0.1)
    found = in_step(8, sent, clients(8, "locust"))
    assert found is not None
    assert found.verdict == "WARN"
    assert in_step(8, sent, replace(clients(8), arrival_kind="poisson")) is None


def test_one_client_and_too_few_cycles_tell_nothing() -> None:
    assert in_step(1, sends_s(1, servers=math.inf, service=lambda: 0.1)) is None
    assert in_step(8, sends_s(8, servers=math.inf, service=lambda: 1.2)) is None


def test_cycles_as_short_as_what_an_event_loop_reads_at_once_tell_nothing() -> None:
    assert in_step(8, sends_s(8, servers=math.inf, service=lambda: 0.009)) is None
    assert in_step(8, sends_s(8, servers=math.inf, service=lambda: 0.011)) is not None


@pytest.mark.parametrize(
    ("missing", "verdict"), [(0, "VALID"), (1, "WARN"), (20, "WARN"), (21, "INVALID"), (2_000, "INVALID")]
)
def test_arrivals_never_started_have_a_check_of_their_own(missing: int, verdict: str) -> None:
    frame = request_rows(constant_s(200, 10), np.full(2_000, 0.02))
    times = ["sent_ns", "first_byte_ns", "end_ns"]
    frame[times] = frame[times].astype(float).where(frame["index"] >= missing, axis=0)
    found = never_started_check(read_rows(frame))
    assert found.verdict == verdict
    assert found.value == pytest.approx(missing / 2_000)


def test_a_target_that_refuses_connections_was_sent_to() -> None:
    frame = request_rows(constant_s(200, 10), np.full(2_000, 0.02), errors=["connect"] * 2_000)
    assert never_started_check(read_rows(frame)).verdict == "VALID"
    assert never_started_check(read_rows(frame.iloc[:0])).verdict == "WARN"
