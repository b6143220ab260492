"""Against integrals that are known exactly."""

from __future__ import annotations

import pandas as pd
import pytest

from app.analysis.energy import energy_in_all, energy_per_item, energy_use
from app.records.energy import EnergyUse
from app.records.estimate import Estimate
from tests.fakes.gpu_telemetry import every, readings, window

BEATS = every(0.05, 20)


def ramp_w(seconds: float) -> float:
    return 100 + 10 * seconds


def ramp_j(start_s: float, end_s: float) -> float:
    return 100 * (end_s - start_s) + 5 * (end_s**2 - start_s**2)


def counter_j(seconds: float) -> float:
    return 7e6 + 120 * seconds


def test_a_counter_is_interpolated_at_the_edges_of_the_window() -> None:
    telemetry = readings("gpu_energy_j", BEATS, counter_j)
    use = energy_use(telemetry, "gpu0", window(2.013, 9.481))
    assert use.total_j.value == pytest.approx(120 * (9.481 - 2.013), rel=1e-9)
    assert use.method == "counter"
    assert use.seconds == pytest.approx(7.468)


def test_power_that_rises_steadily_gives_its_exact_area() -> None:
    telemetry = readings("gpu_power_w", BEATS, ramp_w)
    use = energy_use(telemetry, "gpu0", window(2.013, 9.481))
    assert use.total_j.value == pytest.approx(ramp_j(2.013, 9.481), rel=1e-9)
    assert use.method == "power"


def test_uneven_readings_weigh_by_their_time() -> None:
    telemetry = readings("gpu_power_w", [0, 0.1, 0.2, 1.1, 1.2, 2.1, 3], ramp_w)
    assert energy_use(telemetry, "gpu0", window(0, 3)).total_j.value == pytest.approx(ramp_j(0, 3))


def test_the_counter_goes_before_power_and_power_before_its_average() -> None:
    average = readings("gpu_power_average_w", BEATS, lambda _: 60.0)
    power = readings("gpu_power_w", BEATS, lambda _: 50.0)
    counter = readings("gpu_energy_j", BEATS, counter_j)
    told = [
        energy_use(pd.concat(frames), "gpu0", window(1, 2))
        for frames in ([average], [average, power], [average, power, counter])
    ]
    assert [use.method for use in told] == ["average power", "power", "counter"]
    assert [use.total_j.value for use in told] == pytest.approx([60, 50, 120])


def test_idling_is_taken_off() -> None:
    telemetry = readings("gpu_power_w", BEATS, lambda seconds: 40.0 if seconds < 5 else 240.0)
    use = energy_use(telemetry, "gpu0", window(6, 10), idle=window(1, 4))
    assert use.total_j.value == pytest.approx(960)
    assert use.idle_w.value == pytest.approx(40)
    assert use.above_idle_j.value == pytest.approx(800)
    above_idle = energy_per_item(use, 400).above_idle_j
    assert above_idle.value == pytest.approx(2.0)
    assert above_idle == Estimate(above_idle.value, n=400)
    assert energy_per_item(use, 400).total_j.value == pytest.approx(2.4)


def test_without_an_idle_window_nothing_is_told_above_idle() -> None:
    use = energy_use(readings("gpu_power_w", BEATS, ramp_w), "gpu0", window(1, 2))
    assert use.above_idle_j == Estimate(None, n=0, reason="no idle window was measured")
    assert use.total_j.value is not None


@pytest.mark.parametrize(
    ("bounds", "reason"),
    [
        ((-1, 2), "no readings around the start of the window"),
        ((5, 21), "no readings around the end of the window"),
        ((5, 15), "no readings for 3.0 s"),
        ((11, 15), "no readings around the start of the window"),
        ((3, 3), "the window is empty"),
    ],
)
def test_gaps_in_power_withhold_it(bounds: tuple[float, float], reason: str) -> None:
    telemetry = readings("gpu_power_w", [*every(0.1, 10), *every(0.1, 20, since_s=13)], ramp_w)
    use = energy_use(telemetry, "gpu0", window(*bounds))
    assert use.total_j == Estimate(None, n=0, reason=reason)
    assert use.method is None


def test_a_gap_inside_does_not_matter_to_a_counter() -> None:
    telemetry = readings("gpu_energy_j", [*every(0.1, 10), *every(0.1, 20, since_s=13)], counter_j)
    assert energy_use(telemetry, "gpu0", window(5, 15)).total_j.value == pytest.approx(1_200)


def test_a_counter_that_went_back_leaves_it_to_power() -> None:
    counter = readings("gpu_energy_j", BEATS, lambda seconds: 120 * seconds if seconds < 8 else 120 * (seconds - 8))
    assert energy_use(counter, "gpu0", window(5, 15)).total_j.reason == "the energy counter went back"
    assert energy_use(counter, "gpu0", window(9, 15)).total_j.value == pytest.approx(720)
    both = pd.concat([counter, readings("gpu_power_w", BEATS, lambda _: 120.0)])
    assert energy_use(both, "gpu0", window(5, 15)).method == "power"


def test_readings_that_failed_are_a_gap_and_not_0_watts() -> None:
    telemetry = readings("gpu_power_w", BEATS, lambda seconds: None if 5 < seconds < 7 else 100.0)
    assert energy_use(telemetry, "gpu0", window(4, 8)).total_j.value is None
    telemetry = readings("gpu_power_w", BEATS, lambda seconds: None if 5 < seconds < 5.5 else 100.0)
    assert energy_use(telemetry, "gpu0", window(4, 8)).total_j.value == pytest.approx(400)


def test_a_card_that_tells_neither_is_said_so() -> None:
    telemetry = readings("gpu_power_w", BEATS, lambda _: None)
    assert energy_use(telemetry, "gpu0", window(4, 8)).total_j.reason == "gpu0 tells neither energy nor power"


def test_several_gpus_add_up_and_one_unknown_withholds_the_sum() -> None:
    telemetry = pd.concat(
        [readings("gpu_power_w", BEATS, lambda _: 50, "gpu0"), readings("gpu_power_w", BEATS, lambda _: 70, "gpu1")]
    )
    uses = [energy_use(telemetry, f"gpu{at}", window(2, 4), window(0, 1)) for at in range(3)]
    together = energy_in_all(uses[:2])
    assert (together.total_j.value, together.idle_w.value) == pytest.approx((240, 120))
    assert together.method == "power"
    assert energy_in_all(uses).total_j.reason == "gpu2 tells neither energy nor power"
    assert energy_in_all([]).total_j.reason == "no GPU"


def test_no_items_is_no_energy_an_item() -> None:
    known = Estimate(10.0, n=3)
    use = EnergyUse(known, known, known, 1.0, "counter")
    assert energy_per_item(use, 0).total_j.reason == "no items"
