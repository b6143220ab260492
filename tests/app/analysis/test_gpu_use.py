from __future__ import annotations

import pandas as pd
import pytest

from app.analysis.gpu_use import gpu_use, throttling_check, with_gpu_use
from app.records.estimate import Estimate
from app.records.result import Stage, Verdict
from tests.fakes.gpu_telemetry import every, readings, window

BEATS = every(0.05, 20)
IDLE, BUSY = window(0.5, 2.5), window(5, 15)


def telemetry(*, throttle_bits: float = 0.0, gpu: str = "gpu0") -> pd.DataFrame:
    """100 W for three seconds, 300 W after."""
    told = [
        readings("gpu_power_w", BEATS, lambda seconds: 100.0 if seconds < 3 else 300.0),
        readings("gpu_utilisation_percent", BEATS, lambda seconds: 0.0 if seconds < 3 else 80.0),
        readings("gpu_throttle_reasons", BEATS, lambda seconds: throttle_bits if seconds >= 10 else 0.0),
    ]
    return pd.concat(told, ignore_index=True).assign(source=gpu)


def test_energy_is_told_by_inference_in_all_and_above_idle() -> None:
    found = gpu_use(telemetry(), BUSY, IDLE, inferences=1_000)
    assert found["energy_j"]["value"].value == pytest.approx(3_000)
    assert found["idle_power_w"]["value"].value == pytest.approx(100)
    assert found["energy_j_per_inference"]["value"].value == pytest.approx(3)
    assert found["energy_above_idle_j_per_inference"]["value"].value == pytest.approx(2)
    assert found["gpu_busy_share"]["value"].value == pytest.approx(1)
    assert "energy_j_per_output_token" not in found


def test_without_an_idle_window_nothing_is_told_above_it() -> None:
    found = gpu_use(telemetry(), BUSY, None, inferences=1_000)
    assert found["energy_j_per_inference"]["value"].value == pytest.approx(3)
    above = found["energy_above_idle_j_per_inference"]["value"]
    assert above.value is None
    assert above.reason


def test_several_gpus_are_one_bill_and_others_are_left_out() -> None:
    both = pd.concat([telemetry(), telemetry(gpu="gpu1")], ignore_index=True)
    assert gpu_use(both, BUSY, IDLE, inferences=1)["energy_j"]["value"].value == pytest.approx(6_000)
    only = gpu_use(both, BUSY, IDLE, inferences=1, sources=["gpu1"])
    assert only["energy_j"]["value"].value == pytest.approx(3_000)
    assert gpu_use(both, BUSY, IDLE, inferences=1, sources=["gpu7"]) == {}
    assert gpu_use(telemetry(gpu="host"), BUSY, IDLE, inferences=1) == {}


@pytest.mark.parametrize(("bits", "verdict"), [(0x0, "VALID"), (0x1, "VALID"), (0x2, "VALID"), (0x4, "WARN")])
def test_clocks_that_were_held_back_are_a_warning_that_names_why(bits: float, verdict: str) -> None:
    check = throttling_check(telemetry(throttle_bits=bits), BUSY)
    assert check is not None
    assert check.verdict == verdict
    if verdict == "WARN":
        assert check.value == pytest.approx(0.5, abs=0.01)
        assert "power cap" in (check.hint or "")


def test_a_machine_without_gpus_has_no_such_check() -> None:
    assert throttling_check(telemetry(gpu="host"), BUSY) is None


def test_an_endpoints_answers_and_tokens_have_their_energy() -> None:
    stage = Stage(
        name="s", kind="steady", repeat=1, tags={}, variant=None, window=BUSY, offered_per_s=Estimate(1.0),
        achieved_per_s=Estimate(1.0), good_per_s=Estimate(1.0), completed=100, errors={},
        metrics={"output_tokens": {"mean": Estimate(30.0)}}, verdict=Verdict("VALID"),
    )  # fmt: skip
    found = with_gpu_use(stage, telemetry(throttle_bits=0x40), IDLE)
    assert found.metrics["energy_j_per_inference"]["value"].value == pytest.approx(30)
    assert found.metrics["energy_j_per_output_token"]["value"].value == pytest.approx(1)
    assert found.verdict.status == "WARN"
    assert "GPU throttled" in found.verdict.reasons[0]
