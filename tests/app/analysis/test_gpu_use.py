"""GPU energy and utilization are compared with integrals that are known exactly."""

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
from tests.fakes.gpu_telemetry import at, readings, sample_times, window


def test_gpu_sources_exclude_slices_processes_and_host() -> None:
    sources = ("gpu1", "gpu0", "gpu0/mig0", "gpu0/pid77", "host", "gpu-amd0")
    build_telemetry = pd.concat([readings("gpu_power_w", [0.0], lambda _: 1.0, source) for source in sources])
    assert list_gpu_sources(build_telemetry) == ("gpu-amd0", "gpu0", "gpu1")


def test_gpu_samples_are_sorted_and_include_failed_readings() -> None:
    build_telemetry = readings("gpu_power_w", [2.0, 1.0, 3.0], lambda seconds: None if seconds == 1 else seconds)
    samples = select_samples(build_telemetry.astype({"value": "Float64"}), "gpu0", "gpu_power_w")
    assert list(samples.times_ns) == [at(1), at(2), at(3)]
    assert math.isnan(samples.values[0])
    assert list(samples.drop_failed().values) == [2.0, 3.0]


SAMPLE_TIMES_S = sample_times(0.05, 20)


def ramp_w(seconds: float) -> float:
    return 100 + 10 * seconds


def ramp_j(start_s: float, end_s: float) -> float:
    return 100 * (end_s - start_s) + 5 * (end_s**2 - start_s**2)


def counter_j(seconds: float) -> float:
    return 7e6 + 120 * seconds


def test_energy_counter_is_interpolated_at_window_edges() -> None:
    build_telemetry = readings("gpu_energy_j", SAMPLE_TIMES_S, counter_j)
    use = compute_energy(build_telemetry, "gpu0", window(2.013, 9.481))
    assert use.total_j.value == pytest.approx(120 * (9.481 - 2.013), rel=1e-9)
    assert use.method == "counter"
    assert use.seconds == pytest.approx(7.468)


def test_energy_of_linear_power_is_its_exact_integral() -> None:
    build_telemetry = readings("gpu_power_w", SAMPLE_TIMES_S, ramp_w)
    use = compute_energy(build_telemetry, "gpu0", window(2.013, 9.481))
    assert use.total_j.value == pytest.approx(ramp_j(2.013, 9.481), rel=1e-9)
    assert use.method == "power"


def test_energy_weights_uneven_power_samples_by_time() -> None:
    build_telemetry = readings("gpu_power_w", [0, 0.1, 0.2, 1.1, 1.2, 2.1, 3], ramp_w)
    assert compute_energy(build_telemetry, "gpu0", window(0, 3)).total_j.value == pytest.approx(ramp_j(0, 3))


def test_energy_prefers_counter_to_power_and_power_to_average_power() -> None:
    average = readings("gpu_power_average_w", SAMPLE_TIMES_S, lambda _: 60.0)
    power = readings("gpu_power_w", SAMPLE_TIMES_S, lambda _: 50.0)
    counter = readings("gpu_energy_j", SAMPLE_TIMES_S, counter_j)
    uses = [
        compute_energy(pd.concat(frames), "gpu0", window(1, 2))
        for frames in ([average], [average, power], [average, power, counter])
    ]
    assert [use.method for use in uses] == ["average power", "power", "counter"]
    assert [use.total_j.value for use in uses] == pytest.approx([60, 50, 120])


def test_energy_above_idle_subtracts_idle_power() -> None:
    build_telemetry = readings("gpu_power_w", SAMPLE_TIMES_S, lambda seconds: 40.0 if seconds < 5 else 240.0)
    use = compute_energy(build_telemetry, "gpu0", window(6, 10), idle_window=window(1, 4))
    assert use.total_j.value == pytest.approx(960)
    assert use.idle_w.value == pytest.approx(40)
    assert use.above_idle_j.value == pytest.approx(800)
    above_idle = divide_energy(use, 400).above_idle_j
    assert above_idle.value == pytest.approx(2.0)
    assert above_idle == Estimate(above_idle.value, n=400)
    assert divide_energy(use, 400).total_j.value == pytest.approx(2.4)


def test_energy_above_idle_is_withheld_without_idle_window() -> None:
    use = compute_energy(readings("gpu_power_w", SAMPLE_TIMES_S, ramp_w), "gpu0", window(1, 2))
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
def test_gaps_in_power_samples_withhold_energy(bounds: tuple[float, float], reason: str) -> None:
    build_telemetry = readings("gpu_power_w", [*sample_times(0.1, 10), *sample_times(0.1, 20, since_s=13)], ramp_w)
    use = compute_energy(build_telemetry, "gpu0", window(*bounds))
    assert use.total_j == Estimate(None, n=0, reason=reason)
    assert use.method is None


def test_gap_inside_window_does_not_withhold_counter_energy() -> None:
    build_telemetry = readings("gpu_energy_j", [*sample_times(0.1, 10), *sample_times(0.1, 20, since_s=13)], counter_j)
    assert compute_energy(build_telemetry, "gpu0", window(5, 15)).total_j.value == pytest.approx(1_200)


def test_decreased_energy_counter_falls_back_to_power() -> None:
    counter = readings(
        "gpu_energy_j", SAMPLE_TIMES_S, lambda seconds: 120 * seconds if seconds < 8 else 120 * (seconds - 8)
    )
    assert compute_energy(counter, "gpu0", window(5, 15)).total_j.reason == "the energy counter decreased"
    assert compute_energy(counter, "gpu0", window(9, 15)).total_j.value == pytest.approx(720)
    both = pd.concat([counter, readings("gpu_power_w", SAMPLE_TIMES_S, lambda _: 120.0)])
    assert compute_energy(both, "gpu0", window(5, 15)).method == "power"


def test_failed_power_readings_are_gap_instead_of_0_watts() -> None:
    build_telemetry = readings("gpu_power_w", SAMPLE_TIMES_S, lambda seconds: None if 5 < seconds < 7 else 100.0)
    assert compute_energy(build_telemetry, "gpu0", window(4, 8)).total_j.value is None
    build_telemetry = readings("gpu_power_w", SAMPLE_TIMES_S, lambda seconds: None if 5 < seconds < 5.5 else 100.0)
    assert compute_energy(build_telemetry, "gpu0", window(4, 8)).total_j.value == pytest.approx(400)


def test_gpu_without_energy_or_power_has_reason() -> None:
    build_telemetry = readings("gpu_power_w", SAMPLE_TIMES_S, lambda _: None)
    assert (
        compute_energy(build_telemetry, "gpu0", window(4, 8)).total_j.reason == "gpu0 reports neither energy nor power"
    )


def test_energy_sum_of_gpus_is_withheld_if_one_gpu_is_unknown() -> None:
    build_telemetry = pd.concat(
        [
            readings("gpu_power_w", SAMPLE_TIMES_S, lambda _: 50, "gpu0"),
            readings("gpu_power_w", SAMPLE_TIMES_S, lambda _: 70, "gpu1"),
        ]
    )
    uses = [compute_energy(build_telemetry, f"gpu{at}", window(2, 4), window(0, 1)) for at in range(3)]
    total = sum_energy(uses[:2])
    assert (total.total_j.value, total.idle_w.value) == pytest.approx((240, 120))
    assert total.method == "power"
    assert sum_energy(uses).total_j.reason == "gpu2 reports neither energy nor power"
    assert sum_energy([]).total_j.reason == "no GPU"


def test_energy_per_item_is_withheld_without_items() -> None:
    known = Estimate(10.0, n=3)
    use = EnergyUse(known, known, known, 1.0, "counter")
    assert divide_energy(use, 0).total_j.reason == "no items"


SHARE_SAMPLE_TIMES_S = sample_times(0.1, 10)


def test_gpu_shares_are_fractions_of_window() -> None:
    build_telemetry = pd.concat(
        [
            readings("gpu_utilization_percent", SHARE_SAMPLE_TIMES_S, lambda seconds: 90.0 if seconds > 3.95 else 0.0),
            readings("gpu_throttle_reasons", SHARE_SAMPLE_TIMES_S, lambda seconds: 0x44 if seconds > 7.95 else 0x3),
        ]
    )
    shares = compute_gpu_shares(build_telemetry, "gpu0", window(2, 9.95))
    assert shares.busy == pytest.approx((9.95 - 3.95) / 7.95)
    assert shares.idle == pytest.approx((3.95 - 2) / 7.95)
    assert shares.throttled == pytest.approx((9.95 - 7.95) / 7.95)


def test_gpu_shares_weight_samples_by_time() -> None:
    build_telemetry = readings("gpu_utilization_percent", [0, 0.8, 0.9, 1.0], lambda seconds: float(seconds == 0.8))
    assert compute_gpu_shares(build_telemetry, "gpu0", window(0, 1)).busy == pytest.approx(0.85 - 0.4)


@pytest.mark.parametrize("bits", [0x0, 0x1, 0x2, 0x3])
def test_idle_and_application_clock_reasons_are_not_throttling(bits: int) -> None:
    build_telemetry = readings("gpu_throttle_reasons", SHARE_SAMPLE_TIMES_S, lambda _: bits)
    assert compute_gpu_shares(build_telemetry, "gpu0", window(1, 9)).throttled == 0


@pytest.mark.parametrize("bits", [0x4, 0x8, 0x10, 0x20, 0x40, 0x80, 0x100, 0x4000])
def test_every_other_throttle_reason_is_throttling(bits: int) -> None:
    build_telemetry = readings("gpu_throttle_reasons", SHARE_SAMPLE_TIMES_S, lambda _: bits | 0x1)
    assert compute_gpu_shares(build_telemetry, "gpu0", window(1, 9)).throttled == 1


def test_unreported_gpu_shares_are_none() -> None:
    build_telemetry = readings("gpu_utilization_percent", SHARE_SAMPLE_TIMES_S, lambda _: None)
    assert compute_gpu_shares(build_telemetry, "gpu0", window(1, 9)) == GpuShares(None, None, None)
    assert compute_gpu_shares(build_telemetry.iloc[:0], "gpu0", window(1, 9)) == GpuShares(None, None, None)


def test_gpu_share_ignores_gap_and_is_withheld_if_gaps_fill_half_of_window() -> None:
    build_telemetry = readings(
        "gpu_utilization_percent", [*sample_times(0.1, 3), *sample_times(0.1, 10, since_s=9)], lambda s: float(s < 4)
    )
    assert compute_gpu_shares(build_telemetry, "gpu0", window(0, 6)).busy == 1
    assert compute_gpu_shares(build_telemetry, "gpu0", window(0, 8)).busy is None
    assert compute_gpu_shares(build_telemetry, "gpu0", window(2, 10)).busy is None


IDLE, BUSY = window(0.5, 2.5), window(5, 15)


def build_telemetry(*, throttle_bits: float = 0.0, gpu: str = "gpu0") -> pd.DataFrame:
    """Telemetry of a GPU that uses 100 W for 3 s and 300 W afterwards."""
    series = [
        readings("gpu_power_w", SAMPLE_TIMES_S, lambda seconds: 100.0 if seconds < 3 else 300.0),
        readings("gpu_utilization_percent", SAMPLE_TIMES_S, lambda seconds: 0.0 if seconds < 3 else 80.0),
        readings("gpu_throttle_reasons", SAMPLE_TIMES_S, lambda seconds: throttle_bits if seconds >= 10 else 0.0),
    ]
    return pd.concat(series, ignore_index=True).assign(source=gpu)


def test_energy_is_reported_in_total_per_inference_and_above_idle() -> None:
    metrics = compute_gpu_metrics(build_telemetry(), BUSY, IDLE, inferences=1_000)
    assert metrics["energy_j"]["value"].value == pytest.approx(3_000)
    assert metrics["idle_power_w"]["value"].value == pytest.approx(100)
    assert metrics["energy_j_per_inference"]["value"].value == pytest.approx(3)
    assert metrics["energy_above_idle_j_per_inference"]["value"].value == pytest.approx(2)
    assert metrics["gpu_busy_share"]["value"].value == pytest.approx(1)
    assert "energy_j_per_output_token" not in metrics


def test_energy_above_idle_per_inference_is_withheld_without_idle_window() -> None:
    metrics = compute_gpu_metrics(build_telemetry(), BUSY, None, inferences=1_000)
    assert metrics["energy_j_per_inference"]["value"].value == pytest.approx(3)
    above = metrics["energy_above_idle_j_per_inference"]["value"]
    assert above.value is None
    assert above.reason


def test_energy_is_summed_over_selected_gpus_only() -> None:
    both = pd.concat([build_telemetry(), build_telemetry(gpu="gpu1")], ignore_index=True)
    assert compute_gpu_metrics(both, BUSY, IDLE, inferences=1)["energy_j"]["value"].value == pytest.approx(6_000)
    only = compute_gpu_metrics(both, BUSY, IDLE, inferences=1, sources=["gpu1"])
    assert only["energy_j"]["value"].value == pytest.approx(3_000)
    assert compute_gpu_metrics(both, BUSY, IDLE, inferences=1, sources=["gpu7"]) == {}
    assert compute_gpu_metrics(build_telemetry(gpu="host"), BUSY, IDLE, inferences=1) == {}


@pytest.mark.parametrize(("bits", "verdict"), [(0x0, "VALID"), (0x1, "VALID"), (0x2, "VALID"), (0x4, "WARN")])
def test_throttled_gpu_clocks_are_warning_with_reason(bits: float, verdict: str) -> None:
    check = check_throttling(build_telemetry(throttle_bits=bits), BUSY)
    assert check is not None
    assert check.verdict == verdict
    if verdict == "WARN":
        assert check.value == pytest.approx(0.5, abs=0.01)
        assert "power cap" in (check.hint or "")


def test_machine_without_gpu_has_no_throttling_check() -> None:
    assert check_throttling(build_telemetry(gpu="host"), BUSY) is None


def test_stage_has_energy_per_inference_and_per_output_token() -> None:
    stage = Stage(
        name="s", kind="steady", repeat=1, tags={}, variant=None, window=BUSY, offered_per_s=Estimate(1.0),
        achieved_per_s=Estimate(1.0), good_per_s=Estimate(1.0), completed=100, errors={},
        metrics={"output_tokens": {"mean": Estimate(30.0)}}, verdict=Verdict("VALID"),
    )  # fmt: skip
    with_gpu_metrics = add_gpu_metrics(stage, build_telemetry(throttle_bits=0x40), IDLE)
    assert with_gpu_metrics.metrics["energy_j_per_inference"]["value"].value == pytest.approx(30)
    assert with_gpu_metrics.metrics["energy_j_per_output_token"]["value"].value == pytest.approx(1)
    assert with_gpu_metrics.verdict.status == "WARN"
    assert "GPU throttled" in with_gpu_metrics.verdict.reasons[0]
