from __future__ import annotations

import datetime

import pytest
from msgspec.structs import replace

from app.analysis.language_models import load_language_models
from app.planning.step_times.bundled import load_bundled_evidence
from app.planning.step_times.own_points import (
    RelativeSpeed,
    calibrate_service,
    check_own_measurements,
    list_applicable,
)
from app.planning.step_times.service import EstimatedService, ServerSettings, estimate_services
from app.planning.step_times.terms import Server
from app.profiles.pricing.catalog import load_catalog
from app.records.evidence import PublishedServer
from app.records.planning_inputs import OwnEvidence, OwnPoint
from tests.fakes import small_plan

SHAPE = load_language_models()["qwen3-32b"].shape
SERVED = PublishedServer(
    model="qwen3-32b", accelerator="l40s", precision="fp8", engine="vllm", version="current", accelerators=2
)
SERVER = Server(SERVED, SHAPE, load_catalog().accelerators["l40s"], "bf16", "inferencex")
LENGTHS = (1000.0, 200.0)


def estimate() -> EstimatedService:
    services = estimate_services(load_bundled_evidence(), [(SERVER, ServerSettings(256, 100_000, 2048))], *LENGTHS)
    assert isinstance(services, tuple)
    return services[0]


ESTIMATED = estimate()


def predict_tpot_ms(sequences: float) -> float:
    step_s = ESTIMATED.service.compute_decode_step_s(sequences, sequences * (LENGTHS[0] + LENGTHS[1] / 2))
    return 1000 * step_s


def own(*points: OwnPoint, served: PublishedServer = SERVED, **changes: object) -> OwnEvidence:
    evidence = OwnEvidence(
        id="own-00000000",
        added_on=datetime.date(2026, 12, 1),
        tool="GuideLLM",
        origin="result.json",
        model_name="qwen3-32b",
        shape=SHAPE,
        served=served,
        points=points,
    )
    return replace(evidence, **changes)


def point(tpot_ms: float | None, ttft_ms: float | None = None, clients: float | None = 8.0) -> OwnPoint:
    return OwnPoint(
        clients=clients, rate_per_s=None, input_tokens=1000.0, output_tokens=200.0, ttft_ms=ttft_ms, tpot_ms=tpot_ms
    )


def calibrate(*evidence: OwnEvidence) -> EstimatedService:
    return calibrate_service(ESTIMATED, SERVER, LENGTHS, evidence, load_bundled_evidence())


def test_estimate_without_own_measurements_is_unchanged() -> None:
    assert calibrate() == ESTIMATED


@pytest.mark.parametrize("factor", [0.8, 1.0, 1.4])
def test_measured_tpot_calibrates_the_step_time_and_narrows_its_interval(factor: float) -> None:
    calibrated = calibrate(own(point(factor * predict_tpot_ms(8))))
    fast = calibrate(own(point(0.9 * factor * predict_tpot_ms(8))))
    assert calibrated.own_points == 1
    assert calibrated.tpot_sigma < 0.75 * ESTIMATED.tpot_sigma
    assert calibrated.ttft_sigma == ESTIMATED.ttft_sigma
    assert fast.service.step_s < calibrated.service.step_s


def test_additional_measurement_narrows_the_interval_further() -> None:
    one = calibrate(own(point(predict_tpot_ms(8))))
    two = calibrate(own(point(predict_tpot_ms(8)), point(predict_tpot_ms(32), clients=32.0)))
    assert two.tpot_sigma < one.tpot_sigma
    assert two.own_points == 2


def test_measurement_with_another_number_of_accelerators_narrows_the_interval_less() -> None:
    same = calibrate(own(point(20.0)))
    other = calibrate(own(point(20.0), served=replace(SERVED, accelerators=4)))
    assert same.tpot_sigma < other.tpot_sigma < ESTIMATED.tpot_sigma


def test_measured_ttft_calibrates_the_time_outside_the_steps() -> None:
    slow, fast = (calibrate(own(point(None, ttft_ms=ttft_ms))) for ttft_ms in (900.0, 500.0))
    assert slow.service.outside_s > fast.service.outside_s
    assert slow.service.step_s == ESTIMATED.service.step_s
    assert slow.ttft_sigma < ESTIMATED.ttft_sigma


def test_concurrency_of_an_open_loop_is_computed_by_littles_law() -> None:
    tpot_ms = predict_tpot_ms(8)
    rate_per_s = 8 / ((300 + 199 * tpot_ms) / 1000)
    closed = calibrate(own(point(tpot_ms, ttft_ms=300.0)))
    opened = calibrate(own(replace(point(tpot_ms, ttft_ms=300.0, clients=None), rate_per_s=rate_per_s)))
    assert opened.service.step_s == pytest.approx(closed.service.step_s)


@pytest.mark.parametrize(
    "changes",
    [
        {"served": replace(SERVED, accelerator="h200-sxm-141gb")},
        {"served": replace(SERVED, engine="sglang")},
        {"served": replace(SERVED, precision="bf16")},
        {"kv_dtype": "fp8"},
        {"speculation": True},
        {"shape": load_language_models()["qwen3-14b"].shape},
    ],
)
def test_measurements_of_other_servers_are_not_used(changes: dict[str, object]) -> None:
    evidence = replace(own(point(20.0)), **changes)
    assert list_applicable([evidence], SERVER) == ()
    assert calibrate(evidence) == ESTIMATED


@pytest.mark.parametrize(
    "impossible",
    [
        point(float("nan")),
        point(-1.0),
        point(20.0, clients=0.0),
        point(20.0, clients=None),
        replace(point(20.0), input_tokens=float("inf")),
    ],
)
def test_impossible_measured_values_are_ignored(impossible: OwnPoint) -> None:
    assert calibrate(own(impossible)) == ESTIMATED


SLOW = RelativeSpeed(0.75, 0.25)


def calibrate_slow(*evidence: OwnEvidence) -> EstimatedService:
    return calibrate_service(ESTIMATED, SERVER, LENGTHS, evidence, load_bundled_evidence(), SLOW)


def test_unmeasured_server_of_lower_relative_speed_is_slower_with_a_larger_sigma() -> None:
    slow = calibrate_slow()
    assert slow.service.step_s == pytest.approx(ESTIMATED.service.step_s / 0.75)
    assert slow.tpot_sigma == pytest.approx((ESTIMATED.tpot_sigma**2 + 0.25**2) ** 0.5)
    assert slow.ttft_sigma > ESTIMATED.ttft_sigma


def test_measured_tpot_does_not_change_the_relative_speed_of_ttft() -> None:
    without, with_tpot = calibrate_slow(), calibrate_slow(own(point(predict_tpot_ms(8) / 0.75)))
    assert with_tpot.ttft_sigma == without.ttft_sigma
    assert with_tpot.tpot_sigma < 0.75 * without.tpot_sigma
    prompt_s = [service.prefill_s_per_token * LENGTHS[0] for service in (with_tpot.service, without.service)]
    assert with_tpot.service.outside_s + prompt_s[0] == pytest.approx(without.service.outside_s + prompt_s[1])


def test_measurements_calibrate_the_step_time_at_the_relative_speed() -> None:
    measured_ms = predict_tpot_ms(8)
    slow = calibrate_service(
        ESTIMATED, SERVER, LENGTHS, [own(point(measured_ms))], load_bundled_evidence(), RelativeSpeed(0.75)
    )
    fast = calibrate(own(point(0.75 * measured_ms)))
    assert slow.service.step_s == pytest.approx(fast.service.step_s / 0.75)
    assert slow.tpot_sigma == pytest.approx(fast.tpot_sigma)


@pytest.mark.parametrize("ratio", [6.0, 1 / 6])
def test_implausible_measurements_are_ignored_with_a_warning(ratio: float) -> None:
    calibrated = calibrate(own(point(predict_tpot_ms(8)), point(ratio * predict_tpot_ms(8))))
    assert replace(calibrated, ignored_ratio=None) == ESTIMATED
    assert calibrated.ignored_ratio == pytest.approx(ratio, rel=0.15)
    target = replace(small_plan.planning_inputs().measured[0], ignored_ratio=calibrated.ignored_ratio)
    (check,) = check_own_measurements([replace(target, ignored_ratio=None), target])
    assert (check.id, check.verdict) == ("own_measurements", "WARN")
    assert check.value == pytest.approx(6.0, rel=0.15)


def test_implausible_ttft_does_not_prevent_calibration_by_tpot() -> None:
    calibrated = calibrate(own(point(predict_tpot_ms(8), ttft_ms=1e6)))
    assert (calibrated.own_points, calibrated.ignored_ratio is None) == (1, False)
    assert check_own_measurements([replace(small_plan.planning_inputs().measured[0])]) == ()
