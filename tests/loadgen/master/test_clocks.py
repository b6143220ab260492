"""A worker's clock simulated: ahead, drifting, seen through a network with jitter."""

from __future__ import annotations

import numpy as np
import pytest

from loadgen.master.clocks import SAME_CLOCK, ClockLine, ClockOffset, WorkerClock, fitted

UPTIME_NS = 400 * 86_400 * 10**9
"""More than floating point can count in nanoseconds."""
AHEAD_NS = 7 * 3_600 * 10**9
PING_NS = 250_000_000


def seen(
    for_s: float,
    *,
    drift: float = 0.0,
    jitter_ms: float = 0.3,
    slow_answers: float = 0.0,
    base_ms: float = 0.2,
    seed: int = 1,
) -> WorkerClock:
    """As after pings four times a second. Each way takes `base_ms` and an exponential jitter; a share of answers, and
    answers alone, takes 50 ms more."""
    rng = np.random.default_rng(seed)
    clock = WorkerClock()
    for sent_ns in range(UPTIME_NS, UPTIME_NS + round(for_s * 1e9), PING_NS):
        there_ns, back_ns = np.rint((base_ms + rng.exponential(jitter_ms, 2)) * 1e6).astype(int)
        if rng.random() < slow_answers:
            back_ns += 50_000_000
        at_ns = sent_ns + int(there_ns)
        clock.add(sent_ns, on_worker(at_ns, drift), at_ns + int(back_ns))
    return clock


def on_worker(master_ns: int, drift: float) -> int:
    return master_ns + AHEAD_NS + round((master_ns - UPTIME_NS) * drift)


@pytest.mark.parametrize("drift", [0.0, 40e-6, -40e-6, 300e-6])
@pytest.mark.parametrize("seed", range(5))
def test_after_a_minute_a_moment_is_moved_right_to_a_tenth_of_a_millisecond(drift: float, seed: int) -> None:
    line = seen(60, drift=drift, seed=seed).line()
    later_ns = UPTIME_NS + 90 * 10**9  # where a stage of half a minute would end
    assert abs(line.master_ns(on_worker(later_ns, drift)) - later_ns) < 300_000
    now_ns = UPTIME_NS + 60 * 10**9
    assert abs(line.master_ns(on_worker(now_ns, drift)) - now_ns) < 100_000


@pytest.mark.parametrize("seed", range(5))
def test_after_a_second_no_slope_is_made_of_jitter(seed: int) -> None:
    """The crystals of two machines differ by some 50 ppm, which is 3 ms a minute; jitter of 0.3 ms over a second would
    say 300 ppm."""
    line = seen(1.2, jitter_ms=0.3, seed=seed).line()
    assert abs(line.slope) < 60e-6
    now_ns = UPTIME_NS + 10**9
    assert abs(line.master_ns(on_worker(now_ns, 0.0)) - now_ns) < 300_000


def test_answers_that_are_held_up_on_one_way_have_no_say() -> None:
    """Half of them come 50 ms late: a mean of all would be off by a fourth of that."""
    clock = seen(60, drift=20e-6, slow_answers=0.5)
    now_ns = UPTIME_NS + 60 * 10**9
    assert abs(clock.line().master_ns(on_worker(now_ns, 20e-6)) - now_ns) < 100_000
    assert clock.residual_ms(clock.line()) < 1


def test_one_window_without_a_quick_answer_bends_nothing() -> None:
    good = [ClockOffset(UPTIME_NS + s * 10**9, AHEAD_NS, 400_000) for s in range(0, 60, 10)]
    line = fitted((*good, ClockOffset(UPTIME_NS + 60 * 10**9, AHEAD_NS + 25_000_000, 50_400_000)))
    assert abs(line.slope) < 1e-8
    assert line.master_ns(UPTIME_NS) == pytest.approx(UPTIME_NS - AHEAD_NS, abs=1_000)


def test_of_the_first_second_and_each_ten_after_the_shortest_round_trip_is_kept() -> None:
    clock = WorkerClock()
    for tenth in range(315):
        sent_ns = UPTIME_NS + tenth * 100_000_000
        is_best = tenth % 50 == 7
        clock.add(sent_ns, sent_ns + 1, sent_ns + (100_000 if is_best else 900_000))
    assert [reading.round_trip_ns for reading in clock.readings] == [100_000, 100_000, 100_000, 100_000, 900_000]
    assert [round((reading.at_ns - UPTIME_NS) / 1e8) for reading in clock.readings] == [7, 57, 157, 257, 310]
    assert clock.round_trip_ns == 900_000


def test_no_clock_is_taken_to_run_wrong_by_more_than_clocks_do() -> None:
    line = fitted(tuple(ClockOffset(UPTIME_NS + s * 10**9, s * 10_000_000, 100_000) for s in range(0, 300, 10)))
    assert line.slope == 500e-6


def test_the_residual_says_how_far_the_clock_went_from_the_line_of_a_stage() -> None:
    clock = seen(11, base_ms=0.1, jitter_ms=0.001)
    line = clock.line()
    assert clock.residual_ms(line) == pytest.approx(0.1, abs=0.05)  # half a round trip
    for s in range(12, 32):
        sent_ns = UPTIME_NS + s * 10**9
        clock.add(sent_ns, on_worker(sent_ns, 0.0) + 5_000_000, sent_ns + 200_000)  # a jump of 5 ms
    assert clock.residual_ms(line) == pytest.approx(5.1, abs=0.1)


@pytest.mark.parametrize("line", [SAME_CLOCK, ClockLine(UPTIME_NS, AHEAD_NS, 500e-6), ClockLine(5, -AHEAD_NS, -1e-5)])
def test_there_and_back_is_the_same_moment(line: ClockLine) -> None:
    for ns in (UPTIME_NS, UPTIME_NS + 3_600 * 10**9 + 1):
        assert abs(line.master_ns(line.worker_ns(ns)) - ns) <= 1
        (moved,) = line.master_times(np.array([line.worker_ns(ns)]))
        assert abs(int(moved) - ns) <= 1


def test_a_line_needs_a_reading() -> None:
    with pytest.raises(ValueError, match="no reading"):
        WorkerClock().line()
