"""Against integrals that are known exactly."""

from __future__ import annotations

import math

import pandas as pd
import pytest

from app.analysis.gpu_use import (
    add_gpu_metrics,
    check_throttling,
    compute_energy,
    compute_gpu_metrics,
    compute_gpu_shares,
    divide_energy,
    list_gpu_sources,
    select_samples,
    sum_energy,
)
from app.records.estimate import Estimate
from app.records.gpu import EnergyUse, GpuShares
from app.records.result import Stage, Verdict
from tests.fakes.gpu_telemetry import at, every, readings, window


def test_slices_processes_and_hosts_are_no_gpus() -> None:
    sources = ("gpu1", "gpu0", "gpu0/mig0", "gpu0/pid77", "host", "gpu-amd0")
    telemetry = pd.concat([readings("gpu_power_w", [0.0], lambda _: 1.0, source) for source in sources])
    assert list_gpu_sources(telemetry) == ("gpu-amd0", "gpu0", "gpu1")


def test_readings_are_put_in_order_and_failed_ones_kept() -> None:
    telemetry = readings("gpu_power_w", [2.0, 1.0, 3.0], lambda seconds: None if seconds == 1 else seconds)
    reported = select_samples(telemetry.astype({"value": "Float64"}), "gpu0", "gpu_power_w")
    assert list(reported.times_ns) == [at(1), at(2), at(3)]
    assert math.isnan(reported.values[0])
    assert list(reported.drop_failed().values) == [2.0, 3.0]


BEATS = every(0.05, 20)


def ramp_w(seconds: float) -> float:
    return 100 + 10 * seconds


def ramp_j(start_s: float, end_s: float) -> float:
    return 100 * (end_s - start_s) + 5 * (end_s**2 - start_s**2)


def counter_j(seconds: float) -> float:
    return 7e6 + 120 * seconds


def test_a_counter_is_interpolated_at_the_edges_of_the_window() -> None:
    telemetry = readings("gpu_energy_j", BEATS, counter_j)
    use = compute_energy(telemetry, "gpu0", window(2.013, 9.481))
    assert use.total_j.value == pytest.approx(120 * (9.481 - 2.013), rel=1e-9)
    assert use.method == "counter"
    assert use.seconds == pytest.approx(7.468)


def test_power_that_rises_steadily_gives_its_exact_area() -> None:
    telemetry = readings("gpu_power_w", BEATS, ramp_w)
    use = compute_energy(telemetry, "gpu0", window(2.013, 9.481))
    assert use.total_j.value == pytest.approx(ramp_j(2.013, 9.481), rel=1e-9)
    assert use.method == "power"


def test_uneven_readings_weigh_by_their_time() -> None:
    telemetry = readings("gpu_power_w", [0, 0.1, 0.2, 1.1, 1.2, 2.1, 3], ramp_w)
    assert compute_energy(telemetry, "gpu0", window(0, 3)).total_j.value == pytest.approx(ramp_j(0, 3))


def test_the_counter_goes_before_power_and_power_before_its_average() -> None:
    average = readings("gpu_power_average_w", BEATS, lambda _: 60.0)
    power = readings("gpu_power_w", BEATS, lambda _: 50.0)
    counter = readings("gpu_energy_j", BEATS, counter_j)
    reported = [
        compute_energy(pd.concat(frames), "gpu0", window(1, 2))
        for frames in ([average], [average, power], [average, power, counter])
    ]
    assert [use.method for use in reported] == ["average power", "power", "counter"]
    assert [use.total_j.value for use in reported] == pytest.approx([60, 50, 120])


def test_idling_is_taken_off() -> None:
    telemetry = readings("gpu_power_w", BEATS, lambda seconds: 40.0 if seconds < 5 else 240.0)
    use = compute_energy(telemetry, "gpu0", window(6, 10), idle_window=window(1, 4))
    assert use.total_j.value == pytest.approx(960)
    assert use.idle_w.value == pytest.approx(40)
    assert use.above_idle_j.value == pytest.approx(800)
    above_idle = divide_energy(use, 400).above_idle_j
    assert above_idle.value == pytest.approx(2.0)
    assert above_idle == Estimate(above_idle.value, n=400)
    assert divide_energy(use, 400).total_j.value == pytest.approx(2.4)


def test_without_an_idle_window_nothing_is_reported_above_idle() -> None:
    use = compute_energy(readings("gpu_power_w", BEATS, ramp_w), "gpu0", window(1, 2))
    assert use.above_idle_j == Estimate(None, n=0, reason="idle power was not measured")
    assert use.total_j.value is not None


@pytest.mark.parametrize(
    ("bounds", "reason"),
    [
        ((-1, 2), "no samples around the start of the window"),
        ((5, 21), "no samples around the end of the window"),
        ((5, 15), "no samples for 3.0 s"),
        ((11, 15), "no samples around the start of the window"),
        ((3, 3), "the measurement window is empty"),
    ],
)
def test_gaps_in_power_withhold_it(bounds: tuple[float, float], reason: str) -> None:
    telemetry = readings("gpu_power_w", [*every(0.1, 10), *every(0.1, 20, since_s=13)], ramp_w)
    use = compute_energy(telemetry, "gpu0", window(*bounds))
    assert use.total_j == Estimate(None, n=0, reason=reason)
    assert use.method is None


def test_a_gap_inside_does_not_matter_to_a_counter() -> None:
    telemetry = readings("gpu_energy_j", [*every(0.1, 10), *every(0.1, 20, since_s=13)], counter_j)
    assert compute_energy(telemetry, "gpu0", window(5, 15)).total_j.value == pytest.approx(1_200)


def test_a_counter_that_went_back_leaves_it_to_power() -> None:
    counter = readings("gpu_energy_j", BEATS, lambda seconds: 120 * seconds if seconds < 8 else 120 * (seconds - 8))
    assert compute_energy(counter, "gpu0", window(5, 15)).total_j.reason == "the energy counter decreased"
    assert compute_energy(counter, "gpu0", window(9, 15)).total_j.value == pytest.approx(720)
    both = pd.concat([counter, readings("gpu_power_w", BEATS, lambda _: 120.0)])
    assert compute_energy(both, "gpu0", window(5, 15)).method == "power"


def test_readings_that_failed_are_a_gap_and_not_0_watts() -> None:
    telemetry = readings("gpu_power_w", BEATS, lambda seconds: None if 5 < seconds < 7 else 100.0)
    assert compute_energy(telemetry, "gpu0", window(4, 8)).total_j.value is None
    telemetry = readings("gpu_power_w", BEATS, lambda seconds: None if 5 < seconds < 5.5 else 100.0)
    assert compute_energy(telemetry, "gpu0", window(4, 8)).total_j.value == pytest.approx(400)


def test_a_card_that_reports_neither_is_said_so() -> None:
    telemetry = readings("gpu_power_w", BEATS, lambda _: None)
    assert compute_energy(telemetry, "gpu0", window(4, 8)).total_j.reason == "gpu0 reports neither energy nor power"


def test_several_gpus_add_up_and_one_unknown_withholds_the_sum() -> None:
    telemetry = pd.concat(
        [readings("gpu_power_w", BEATS, lambda _: 50, "gpu0"), readings("gpu_power_w", BEATS, lambda _: 70, "gpu1")]
    )
    uses = [compute_energy(telemetry, f"gpu{at}", window(2, 4), window(0, 1)) for at in range(3)]
    together = sum_energy(uses[:2])
    assert (together.total_j.value, together.idle_w.value) == pytest.approx((240, 120))
    assert together.method == "power"
    assert sum_energy(uses).total_j.reason == "gpu2 reports neither energy nor power"
    assert sum_energy([]).total_j.reason == "no GPU"


def test_no_items_is_no_energy_an_item() -> None:
    known = Estimate(10.0, n=3)
    use = EnergyUse(known, known, known, 1.0, "counter")
    assert divide_energy(use, 0).total_j.reason == "no items"


GPU_SHARES_BEATS = every(0.1, 10)


def test_shares_are_of_the_windows_time() -> None:
    telemetry = pd.concat(
        [
            readings("gpu_utilization_percent", GPU_SHARES_BEATS, lambda seconds: 90.0 if seconds > 3.95 else 0.0),
            readings("gpu_throttle_reasons", GPU_SHARES_BEATS, lambda seconds: 0x44 if seconds > 7.95 else 0x3),
        ]
    )
    shares = compute_gpu_shares(telemetry, "gpu0", window(2, 9.95))
    assert shares.busy == pytest.approx((9.95 - 3.95) / 7.95)
    assert shares.idle == pytest.approx((3.95 - 2) / 7.95)
    assert shares.throttled == pytest.approx((9.95 - 7.95) / 7.95)


def test_readings_weigh_by_the_time_they_stand_for() -> None:
    telemetry = readings("gpu_utilization_percent", [0, 0.8, 0.9, 1.0], lambda seconds: float(seconds == 0.8))
    assert compute_gpu_shares(telemetry, "gpu0", window(0, 1)).busy == pytest.approx(0.85 - 0.4)


@pytest.mark.parametrize("bits", [0x0, 0x1, 0x2, 0x3])
def test_idle_and_set_clocks_are_no_throttling(bits: int) -> None:
    telemetry = readings("gpu_throttle_reasons", GPU_SHARES_BEATS, lambda _: bits)
    assert compute_gpu_shares(telemetry, "gpu0", window(1, 9)).throttled == 0


@pytest.mark.parametrize("bits", [0x4, 0x8, 0x10, 0x20, 0x40, 0x80, 0x100, 0x4000])
def test_every_other_reason_is(bits: int) -> None:
    telemetry = readings("gpu_throttle_reasons", GPU_SHARES_BEATS, lambda _: bits | 0x1)
    assert compute_gpu_shares(telemetry, "gpu0", window(1, 9)).throttled == 1


def test_what_is_not_reported_is_none_and_not_0() -> None:
    telemetry = readings("gpu_utilization_percent", GPU_SHARES_BEATS, lambda _: None)
    assert compute_gpu_shares(telemetry, "gpu0", window(1, 9)) == GpuShares(None, None, None)
    assert compute_gpu_shares(telemetry.iloc[:0], "gpu0", window(1, 9)) == GpuShares(None, None, None)


def test_a_gap_counts_for_nothing_and_half_a_window_of_gaps_withholds() -> None:
    telemetry = readings(
        "gpu_utilization_percent", [*every(0.1, 3), *every(0.1, 10, since_s=9)], lambda s: float(s < 4)
    )
    assert compute_gpu_shares(telemetry, "gpu0", window(0, 6)).busy == 1
    assert compute_gpu_shares(telemetry, "gpu0", window(0, 8)).busy is None
    assert compute_gpu_shares(telemetry, "gpu0", window(2, 10)).busy is None


IDLE, BUSY = window(0.5, 2.5), window(5, 15)


def telemetry(*, throttle_bits: float = 0.0, gpu: str = "gpu0") -> pd.DataFrame:
    """100 W for three seconds, 300 W after."""
    reported = [
        readings("gpu_power_w", BEATS, lambda seconds: 100.0 if seconds < 3 else 300.0),
        readings("gpu_utilization_percent", BEATS, lambda seconds: 0.0 if seconds < 3 else 80.0),
        readings("gpu_throttle_reasons", BEATS, lambda seconds: throttle_bits if seconds >= 10 else 0.0),
    ]
    return pd.concat(reported, ignore_index=True).assign(source=gpu)


def test_energy_is_reported_by_inference_in_all_and_above_idle() -> None:
    found = compute_gpu_metrics(telemetry(), BUSY, IDLE, inferences=1_000)
    assert found["energy_j"]["value"].value == pytest.approx(3_000)
    assert found["idle_power_w"]["value"].value == pytest.approx(100)
    assert found["energy_j_per_inference"]["value"].value == pytest.approx(3)
    assert found["energy_above_idle_j_per_inference"]["value"].value == pytest.approx(2)
    assert found["gpu_busy_share"]["value"].value == pytest.approx(1)
    assert "energy_j_per_output_token" not in found


def test_without_an_idle_window_nothing_is_reported_above_it() -> None:
    found = compute_gpu_metrics(telemetry(), BUSY, None, inferences=1_000)
    assert found["energy_j_per_inference"]["value"].value == pytest.approx(3)
    above = found["energy_above_idle_j_per_inference"]["value"]
    assert above.value is None
    assert above.reason


def test_several_gpus_are_one_bill_and_others_are_left_out() -> None:
    both = pd.concat([telemetry(), telemetry(gpu="gpu1")], ignore_index=True)
    assert compute_gpu_metrics(both, BUSY, IDLE, inferences=1)["energy_j"]["value"].value == pytest.approx(6_000)
    only = compute_gpu_metrics(both, BUSY, IDLE, inferences=1, sources=["gpu1"])
    assert only["energy_j"]["value"].value == pytest.approx(3_000)
    assert compute_gpu_metrics(both, BUSY, IDLE, inferences=1, sources=["gpu7"]) == {}
    assert compute_gpu_metrics(telemetry(gpu="host"), BUSY, IDLE, inferences=1) == {}


@pytest.mark.parametrize(("bits", "verdict"), [(0x0, "VALID"), (0x1, "VALID"), (0x2, "VALID"), (0x4, "WARN")])
def test_clocks_that_were_held_back_are_a_warning_that_names_why(bits: float, verdict: str) -> None:
    check = check_throttling(telemetry(throttle_bits=bits), BUSY)
    assert check is not None
    assert check.verdict == verdict
    if verdict == "WARN":
        assert check.value == pytest.approx(0.5, abs=0.01)
        assert "power cap" in (check.hint or "")


def test_a_machine_without_gpus_has_no_such_check() -> None:
    assert check_throttling(telemetry(gpu="host"), BUSY) is None


def test_an_endpoints_answers_and_tokens_have_their_energy() -> None:
    stage = Stage(
        name="s", kind="steady", repeat=1, tags={}, variant=None, window=BUSY, offered_per_s=Estimate(1.0),
        achieved_per_s=Estimate(1.0), good_per_s=Estimate(1.0), completed=100, errors={},
        metrics={"output_tokens": {"mean": Estimate(30.0)}}, verdict=Verdict("VALID"),
    )  # fmt: skip
    found = add_gpu_metrics(stage, telemetry(throttle_bits=0x40), IDLE)
    assert found.metrics["energy_j_per_inference"]["value"].value == pytest.approx(30)
    assert found.metrics["energy_j_per_output_token"]["value"].value == pytest.approx(1)
    assert found.verdict.status == "WARN"
    assert "GPU throttled" in found.verdict.reasons[0]
