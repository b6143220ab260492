import pytest

from app.records.calibration import CalibrationStep
from app.session.ceiling import REQUESTS, ceiling, climb, disturbed_by_cores, holds, is_at_least


def rung(rate: float, held: bool) -> CalibrationStep:
    return CalibrationStep(rate, rate, 0.05, 1.0, 0.0, 0.5, held)


def test_the_ceiling_is_the_highest_rate_that_held() -> None:
    rungs = climb(lambda rate: rung(rate, rate <= 45_500))
    assert [one.offered_per_s for one in rungs][:5] == [8_000, 16_000, 32_000, 64_000, 64_000]
    assert ceiling(rungs) == pytest.approx(64_000 / 2**0.5)


def test_a_slow_machine_is_found_from_above() -> None:
    rungs = climb(lambda rate: rung(rate, rate <= 1_500))
    assert ceiling(rungs) == pytest.approx(1_000 * 2**0.5)


def test_one_disturbed_moment_does_not_lower_the_ceiling() -> None:
    tries: list[float] = []

    def try_rate(rate: float) -> CalibrationStep:
        tries.append(rate)
        return rung(rate, rate < 40_000 and (rate != 16_000 or tries.count(rate) > 1))

    assert ceiling(climb(try_rate)) == 32_000


def test_there_is_no_ceiling_when_the_lowest_rate_does_not_hold() -> None:
    rungs = climb(lambda rate: rung(rate, False))
    assert ceiling(rungs) is None
    assert rungs[-1].offered_per_s == 250
    assert [one.offered_per_s for one in rungs].count(250) == 1, "a machine so busy is not asked twice for ever"
    assert len(rungs) == 6 + 3


def test_climbing_ends_when_it_is_stopped() -> None:
    assert climb(lambda rate: None if rate > 20_000 else rung(rate, True))[-1].offered_per_s == 16_000
    assert climb(lambda _: None) == ()


def test_a_rung_holds_by_what_was_sent_and_how_late() -> None:
    assert holds(0.995, 0.005)
    assert not holds(0.98, 0.0)
    assert not holds(1.0, 0.02)


def test_so_many_workers_begin_and_end_so_much_higher() -> None:
    rungs = climb(lambda rate: rung(rate, True), REQUESTS.times(4))
    assert [one.offered_per_s for one in rungs] == [32_000, 64_000, 128_000, 256_000]
    assert climb(lambda rate: rung(rate, False), REQUESTS.times(4))[-1].offered_per_s == 250


def test_a_ceiling_may_be_higher_where_nothing_failed_by_the_generator() -> None:
    def tried(rate: float, server: float | None) -> CalibrationStep:
        return CalibrationStep(rate, rate, 0.05, 1.0, 0.0, 0.5, rate <= 20_000, server)

    assert is_at_least(climb(lambda rate: tried(rate, 0.96)))
    assert not is_at_least(climb(lambda rate: tried(rate, 0.9)))
    assert not is_at_least(climb(lambda rate: tried(rate, None)))
    assert is_at_least(climb(lambda rate: rung(rate, True)))
    assert not is_at_least(climb(lambda rate: rung(rate, False)))


def beside(rate: float, others: float, limit: float) -> CalibrationStep:
    return CalibrationStep(rate, rate, 0.05, 1.0, 0.0, 0.5, rate <= limit, 0.5, others, 0.0)


def test_a_rate_that_failed_beside_others_says_only_that_the_ceiling_is_no_lower() -> None:
    rungs = climb(lambda rate: beside(rate, 1.5, 12_000))
    assert ceiling(rungs) == pytest.approx(8_000 * 2**0.5)
    assert (is_at_least(rungs), disturbed_by_cores(rungs)) == (True, 1.5)
    rungs = climb(lambda rate: beside(rate, 0.2, 12_000))
    assert (is_at_least(rungs), disturbed_by_cores(rungs)) == (False, None)


def test_the_next_higher_rate_decides_and_not_those_beyond_it() -> None:
    beyond = climb(lambda rate: beside(rate, 1.5 if rate > 15_000 else 0.2, 10_000))
    assert (ceiling(beyond), is_at_least(beyond), disturbed_by_cores(beyond)) == (8_000, False, None)
    next_to_it = climb(lambda rate: beside(rate, 1.5 if rate < 15_000 else 0.2, 10_000))
    assert (ceiling(next_to_it), is_at_least(next_to_it), disturbed_by_cores(next_to_it)) == (8_000, True, 1.5)


def test_one_undisturbed_failure_of_a_rate_is_enough() -> None:
    others = iter([0.0, 1.5, 0.1, 1.5, 0.1])
    rungs = climb(lambda rate: beside(rate, next(others), 10_000))
    assert (len(rungs), is_at_least(rungs), disturbed_by_cores(rungs)) == (5, False, None)


def test_a_machine_too_busy_is_why_there_is_no_ceiling() -> None:
    rungs = climb(lambda rate: beside(rate, 2.0, 0))
    assert (ceiling(rungs), is_at_least(rungs), disturbed_by_cores(rungs)) == (None, False, 2.0)
    assert len(rungs) == 6 + 3, "it takes no longer for that"
    assert disturbed_by_cores(climb(lambda rate: beside(rate, 0.1, 0))) is None
