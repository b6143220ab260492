from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from msgspec.structs import replace

from app.analysis.curve import build_client_load_points
from app.analysis.local.accuracy import compute_accuracy
from app.analysis.objectives import parse_objective
from app.analysis.token_samples import build_sample_from_pairs, unpack_pairs
from app.analysis.traces import select_busiest_rows
from app.planning.service_models.measured import (
    add_measured_tokens,
    build_local_targets,
    build_measured_target,
    build_measured_tokens,
    build_run_target,
    measure_cached_input_share,
)
from app.planning.sizing.fleet_rate import build_fleet_shape
from app.planning.sizing.slo_objectives import build_slo_objectives
from app.records.estimate import Estimate
from app.records.local import BatchModel, LocalResult, VariantData
from app.records.planning_inputs import MeasuredLoadPoint, MeasuredTarget
from app.records.result import SWEEP_TAG, Hardware, Stage, Window
from app.records.server_counters import ServerCounters
from app.records.service import BatchService, RequestService, TokenService
from app.records.traffic import TokenLengths
from tests.fakes.local_runs import build_variant_data, run_of, stage, variant
from tests.fakes.offers import curve, planning_inputs, target
from tests.fakes.results import full_run
from tests.fakes.services import measured_load_points

HERE = Hardware("here", vcpus=1)
SERVICE = RequestService(1, 0.01, 0.5)
LATENCIES = {"latency": {"p50": 2.1}, "ttft": {"p50": 0.1}, "tpot": {"p50": 0.02}}


def test_open_loop_latencies_are_fitted_by_rate_and_equal_inputs_share_one_fit() -> None:
    def build(_: int) -> MeasuredTarget:
        return build_measured_target("run", HERE, curve(), measured_load_points(SERVICE, (0.2, 0.5, 0.8), requests=500))

    with ThreadPoolExecutor(2) as pool:
        target_of_run, second_target = pool.map(build, range(2))
    assert target_of_run.fit is second_target.fit
    assert target_of_run.fit is not None
    assert isinstance(target_of_run.fit.services[0].service, RequestService)
    assert (target_of_run.no_fit_reason, target_of_run.lengths, target_of_run.is_assumed) == (None, None, False)
    assert target_of_run.curve == curve()


def build_token_load_point(clients: int) -> MeasuredLoadPoint:
    return MeasuredLoadPoint(None, clients, clients / 2.1, 300.0, int(300 * clients / 2.1), 0, LATENCIES, 300.0, 101.0)


def test_token_latencies_are_fitted_to_a_token_service_with_measured_lengths() -> None:
    target_of_run = build_measured_target(
        "run", HERE, curve(), [build_token_load_point(clients) for clients in (1, 2, 4)]
    )
    assert target_of_run.fit is not None
    assert isinstance(target_of_run.fit.services[0].service, TokenService)
    assert target_of_run.lengths == (300.0, 101.0)


def test_target_without_fit_has_a_reason() -> None:
    target_of_run = build_measured_target("run", HERE, curve(), measured_load_points(SERVICE, (0.5,), requests=100))
    assert target_of_run.fit is None
    assert target_of_run.no_fit_reason == "a service model needs percentiles at 3 rates, but there are 1"


@pytest.mark.parametrize("is_open_loop", [True, False], ids=["rates", "clients"])
@pytest.mark.parametrize("metrics", [("latency",), ("latency", "ttft", "tpot")], ids=["requests", "tokens"])
def test_load_points_without_a_response_in_their_stage_are_not_fitted(
    is_open_loop: bool, metrics: tuple[str, ...]
) -> None:
    latencies_s = {metric: LATENCIES[metric] for metric in metrics}
    load_points = [
        MeasuredLoadPoint(
            float(load) if is_open_loop else None, None if is_open_loop else load, 0.0, 2.0, 60, 0, latencies_s,
            300.0, 101.0,
        )
        for load in (32, 40, 48, 64)
    ]  # fmt: skip
    target_of_run = build_measured_target("run", HERE, curve(), load_points)
    assert (target_of_run.fit, target_of_run.no_fit_reason is None) == (None, False)


def test_load_point_without_a_response_does_not_change_the_fit_of_the_others() -> None:
    answered = [build_token_load_point(clients) for clients in (1, 2, 4)]
    target_of_run = build_measured_target(
        "run", HERE, curve(), [*answered, replace(build_token_load_point(64), achieved_per_s=0.0)]
    )
    assert target_of_run.fit == build_measured_target("run", HERE, curve(), answered).fit


def test_traffic_without_token_lengths_has_the_measured_lengths() -> None:
    plain = planning_inputs(target(), target(lengths=(300.0, 101.0)))
    assert add_measured_tokens(plain).traffic.tokens == (TokenLengths(1.0, 300.0, 101.0),)
    with_lengths = replace(plain, traffic=replace(plain.traffic, tokens=build_measured_tokens((9.0, 9.0))))
    assert add_measured_tokens(with_lengths) is with_lengths
    assert add_measured_tokens(planning_inputs()).traffic.tokens == ()


def test_measured_token_sample_is_scaled_to_the_mean_lengths_of_the_traffic() -> None:
    sample = build_sample_from_pairs(np.array([[100, 20], [300, 10]]))
    plain = planning_inputs(target(lengths=(200.0, 15.0), token_sample=sample))
    assert add_measured_tokens(plain).traffic.token_sample == sample
    longer = replace(plain, traffic=replace(plain.traffic, tokens=build_measured_tokens((400.0, 15.0))))
    token_sample = add_measured_tokens(longer).traffic.token_sample
    assert token_sample is not None
    assert unpack_pairs(token_sample).tolist() == [[200, 20], [600, 10]]
    mixed = replace(plain, traffic=replace(plain.traffic, tokens=build_measured_tokens((9.0, 9.0)) * 2))
    assert add_measured_tokens(mixed) is mixed, "two kinds of requests are a distribution of their own"


def test_request_lengths_match_the_trace() -> None:
    pairs = np.array([[100, 20], [3000, 10], [50, 400]], dtype=np.int32)
    rows = select_busiest_rows(np.array([0.0, 1.0, 3.0]), (pairs[:, 0], pairs[:, 1]))
    plain = planning_inputs(
        target(lengths=(200.0, 15.0), token_sample=build_sample_from_pairs(pairs[:1].astype(np.int64)))
    )
    traced = replace(plain, traffic=replace(plain.traffic, rows=rows, tokens=build_measured_tokens((1050.0, 143.3))))
    shape = build_fleet_shape(add_measured_tokens(traced).traffic, build_slo_objectives(traced.slo), "random")
    assert [list(pair) for pair in shape.lengths] == pairs.tolist()


LOCAL_HARDWARE = Hardware("here", vcpus=2)
PLAIN = variant()
LOCAL_BATCH_MODEL = BatchModel(
    variant=PLAIN, t0_ms=Estimate(8.0, (7.0, 9.0)), t1_ms=Estimate(1.0, (0.9, 1.1)), r2=0.99, batches=(1, 4, 16)
)


def build_targets(
    batch_model: BatchModel = LOCAL_BATCH_MODEL, variant_data: VariantData | None = None, slo_ms: float = 60.0
) -> tuple[MeasuredTarget, ...]:
    local = LocalResult(variants=(variant_data or build_variant_data(PLAIN),), batch_models=(batch_model,))
    result = run_of((stage(PLAIN, "single-stream", 9.0),), local).result
    return build_local_targets("run", result, LOCAL_HARDWARE, (parse_objective(f"latency_ms.p95 < {slo_ms}"),))


def get_service(measured_targets: tuple[MeasuredTarget, ...]) -> BatchService | RequestService:
    (measured_target,) = measured_targets
    assert measured_target.fit is not None
    model = measured_target.fit.services[0].service
    assert isinstance(model, BatchService | RequestService)
    return model


def test_local_batch_model_becomes_an_assumed_target_with_a_batch_service() -> None:
    local_targets = build_targets()
    batch_service = get_service(local_targets)
    assert isinstance(batch_service, BatchService)
    assert (batch_service.fixed_s, batch_service.per_item_s) == pytest.approx((0.008, 0.001))
    (local_target,) = local_targets
    assert local_target.is_assumed
    assert local_target.name == "run: digits cpu as-is, model only"
    assert 0 < local_target.curve.max_rate_per_s < batch_service.max_throughput_per_s
    assert local_target.curve.cores_used == 1.0
    assert local_target.fit is not None
    assert local_target.fit.highest_per_s == batch_service.max_throughput_per_s
    first, second = local_target.fit.services[0].log_covariance
    assert math.sqrt(first[0]) == pytest.approx(math.log(9 / 7) / (2 * 1.96), rel=1e-3)
    assert second[0] == 0.0


def test_max_batch_is_the_measured_batch_with_the_highest_rate_within_the_slo() -> None:
    loose, tight = get_service(build_targets(slo_ms=500.0)), get_service(build_targets(slo_ms=20.0))
    assert isinstance(loose, BatchService)
    assert isinstance(tight, BatchService)
    assert loose.max_batch == 16
    assert tight.max_batch in (1, 4)


def test_service_without_a_batch_model_has_the_latency_of_single_row_calls() -> None:
    request_service = get_service(build_targets(replace(LOCAL_BATCH_MODEL, reason="times do not lie on a line")))
    assert isinstance(request_service, RequestService)
    assert request_service.slots == 1
    assert request_service.mean_s == pytest.approx(0.009, rel=0.02)
    assert request_service.cv == pytest.approx(1 / 30, rel=0.2)  # gamma times of shape 900


def test_failed_inaccurate_or_slow_variant_is_no_target() -> None:
    reference = np.array([1.0] * 450)
    correct_rows = {correct: np.array([1.0] * correct + [0.0] * (450 - correct)) for correct in (440, 449)}
    inaccurate, accurate = (
        build_variant_data(PLAIN, accuracy=compute_accuracy(correct_rows[correct], reference, "top-1"))
        for correct in (440, 449)
    )
    assert build_targets(variant_data=inaccurate) == ()
    assert len(build_targets(variant_data=accurate)) == 1
    assert build_targets(variant_data=build_variant_data(PLAIN, failure="out of memory")) == ()
    assert build_targets(slo_ms=5.0) == ()


def test_endpoint_run_has_no_local_targets() -> None:
    result = replace(run_of((), LocalResult(variants=())).result, local=None)
    assert build_local_targets("run", result, LOCAL_HARDWARE, ()) == ()


def build_sweep_stage(clients: int) -> Stage:
    """Return a stage of 3 s on a server with one slot of 10 ms, with a queue of closed-loop clients."""
    latency = {name: Estimate(10.0 * clients) for name in ("p50", "p95")}
    return replace(
        full_run().result.stages[-1],
        kind="closed",
        variant=None,
        tags={SWEEP_TAG: "yes"},
        window=Window(0, 3 * 10**9),
        completed=300,
        errors={},
        concurrency=clients,
        scheduled_per_s=None,
        arrival_kind="closed",
        metrics={"latency_ms": latency, "completed_per_s": {"value": Estimate(100.0)}},
    )


@pytest.mark.parametrize(("clients", "is_assumed"), [((1, 2, 4, 8), False), ((1, 2), True)])
def test_concurrency_sweep_is_assumed_without_a_fit(clients: tuple[int, ...], is_assumed: bool) -> None:
    slo = (parse_objective("latency_ms.p95 < 50"),)
    run_target = build_run_target("run", HERE, [build_sweep_stage(count) for count in clients], slo, None)
    assert run_target is not None
    assert (run_target.fit is None, run_target.is_assumed, run_target.curve.max_rate_per_s) == (
        is_assumed,
        is_assumed,
        100.0,
    )
    assert run_target.notes[0].startswith("The load came from clients that wait for their responses")


def test_closed_loop_stages_are_fitted_by_concurrency() -> None:
    load_points = build_client_load_points([build_sweep_stage(clients) for clients in (1, 2, 4, 8)])
    run_target = build_measured_target("run", HERE, curve(), load_points)
    assert run_target.fit is not None
    assert run_target.fit.highest_per_s == 100.0


def test_concurrency_sweep_that_missed_the_slo_everywhere_is_no_target() -> None:
    slo = (parse_objective("latency_ms.p95 < 5"),)
    assert build_run_target("run", HERE, [build_sweep_stage(count) for count in (1, 2, 4, 8)], slo, None) is None
    assert build_run_target("run", HERE, [], slo, None) is None


def test_cached_input_share_is_from_responses_or_else_from_server_counters() -> None:
    stage_without_cache = next(stage for stage in full_run().result.stages if stage.verdict.status == "VALID")

    def cached(share: float, mean_input: float, responses: int) -> Stage:
        metrics = {
            "cached_input_share": {"value": Estimate(share, n=responses)},
            "input_tokens": {"mean": Estimate(mean_input)},
        }
        return replace(stage_without_cache, metrics=stage_without_cache.metrics | metrics)

    counters = ServerCounters(input_tokens=500, cached_input_tokens=300, looked_up_input_tokens=400)
    counted = replace(stage_without_cache, server=counters)
    assert measure_cached_input_share([stage_without_cache]) is None
    assert measure_cached_input_share([counted, stage_without_cache]) == 0.75
    assert (
        measure_cached_input_share(
            [replace(stage_without_cache, server=replace(counters, looked_up_input_tokens=None))]
        )
        == 0.6
    )
    # 800 of 1,000 and 0 of 1,000; a stage that is not valid does not count
    invalid = replace(cached(1.0, 1.0, 10**6), verdict=replace(stage_without_cache.verdict, status="INVALID"))
    assert measure_cached_input_share([cached(0.8, 100.0, 10), cached(0.0, 10.0, 100), counted, invalid]) == 0.4
