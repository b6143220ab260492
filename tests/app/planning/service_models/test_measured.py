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
from app.planning.fleet_rate import build_fleet_shape
from app.planning.service_models.measured import (
    add_measured_tokens,
    build_local_targets,
    build_measured_target,
    build_measured_tokens,
    build_run_target,
    measure_cached_input_share,
)
from app.planning.slo_objectives import build_slo_objectives
from app.records.estimate import Estimate
from app.records.local import BatchModel, LocalResult, VariantData
from app.records.planning_inputs import MeasuredLoadPoint, MeasuredTarget
from app.records.result import SWEEP_TAG, Hardware, Stage, Window
from app.records.server_counters import ServerCounters
from app.records.service import BatchService, RequestService, TokenService
from app.records.traffic import TokenLengths
from tests.fakes.local_runs import facts, run_of, stage, variant
from tests.fakes.offers import curve, question, target
from tests.fakes.results import full_run
from tests.fakes.services import measured_rungs

HERE = Hardware("here", vcpus=1)
LAW = RequestService(1, 0.01, 0.5)
LATENCIES = {"latency": {"p50": 2.1}, "ttft": {"p50": 0.1}, "tpot": {"p50": 0.02}}


def test_an_open_loops_latencies_are_fitted_by_rate_and_equal_ones_once() -> None:
    def build(_: int) -> MeasuredTarget:
        return build_measured_target("run", HERE, curve(), measured_rungs(LAW, (0.2, 0.5, 0.8), requests=500))

    with ThreadPoolExecutor(2) as pool:
        found, again = pool.map(build, range(2))
    assert found.fit is again.fit
    assert found.fit is not None
    assert isinstance(found.fit.services[0].service, RequestService)
    assert (found.no_fit_reason, found.lengths, found.is_assumed) == (None, None, False)
    assert found.curve == curve()


def token_rung(clients: int) -> MeasuredLoadPoint:
    return MeasuredLoadPoint(None, clients, clients / 2.1, 300.0, int(300 * clients / 2.1), 0, LATENCIES, 300.0, 101.0)


def test_times_per_token_are_fitted_as_tokens_with_the_lengths_they_had() -> None:
    found = build_measured_target("run", HERE, curve(), [token_rung(clients) for clients in (1, 2, 4)])
    assert found.fit is not None
    assert isinstance(found.fit.services[0].service, TokenService)
    assert found.lengths == (300.0, 101.0)


def test_what_cannot_be_fitted_says_why() -> None:
    found = build_measured_target("run", HERE, curve(), measured_rungs(LAW, (0.5,), requests=100))
    assert found.fit is None
    assert found.no_fit_reason == "a service model needs percentiles at 3 rates, but there are 1"


@pytest.mark.parametrize("is_open_loop", [True, False], ids=["rates", "clients"])
@pytest.mark.parametrize("metrics", [("latency",), ("latency", "ttft", "tpot")], ids=["requests", "tokens"])
def test_loads_without_a_response_within_their_stage_are_not_fitted(
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
    found = build_measured_target("run", HERE, curve(), load_points)
    assert (found.fit, found.no_fit_reason is None) == (None, False)


def test_a_load_without_a_response_changes_no_fit_of_the_other_loads() -> None:
    answered = [token_rung(clients) for clients in (1, 2, 4)]
    found = build_measured_target("run", HERE, curve(), [*answered, replace(token_rung(64), achieved_per_s=0.0)])
    assert found.fit == build_measured_target("run", HERE, curve(), answered).fit


def test_requests_are_as_long_as_measured_unless_the_traffic_says() -> None:
    plain = question(target(), target(lengths=(300.0, 101.0)))
    assert add_measured_tokens(plain).traffic.tokens == (TokenLengths(1.0, 300.0, 101.0),)
    said = replace(plain, traffic=replace(plain.traffic, tokens=build_measured_tokens((9.0, 9.0))))
    assert add_measured_tokens(said) is said
    assert add_measured_tokens(question()).traffic.tokens == ()


def test_traffic_of_which_means_are_given_is_as_uneven_as_what_was_measured() -> None:
    sample = build_sample_from_pairs(np.array([[100, 20], [300, 10]]))
    plain = question(target(lengths=(200.0, 15.0), token_sample=sample))
    assert add_measured_tokens(plain).traffic.token_sample == sample
    longer = replace(plain, traffic=replace(plain.traffic, tokens=build_measured_tokens((400.0, 15.0))))
    found = add_measured_tokens(longer).traffic.token_sample
    assert found is not None
    assert unpack_pairs(found).tolist() == [[200, 20], [600, 10]]
    mixed = replace(plain, traffic=replace(plain.traffic, tokens=build_measured_tokens((9.0, 9.0)) * 2))
    assert add_measured_tokens(mixed) is mixed, "two kinds of requests are a distribution of their own"


def test_requests_are_as_long_as_those_of_the_trace() -> None:
    pairs = np.array([[100, 20], [3000, 10], [50, 400]], dtype=np.int32)
    rows = select_busiest_rows(np.array([0.0, 1.0, 3.0]), (pairs[:, 0], pairs[:, 1]))
    plain = question(target(lengths=(200.0, 15.0), token_sample=build_sample_from_pairs(pairs[:1].astype(np.int64))))
    traced = replace(plain, traffic=replace(plain.traffic, rows=rows, tokens=build_measured_tokens((1050.0, 143.3))))
    found = build_fleet_shape(add_measured_tokens(traced).traffic, build_slo_objectives(traced.slo), "random")
    assert [list(pair) for pair in found.lengths] == pairs.tolist()


LOCAL_SERVICE_HERE = Hardware("here", vcpus=2)
PLAIN = variant()
LOCAL_SERVICE_LAW = BatchModel(
    variant=PLAIN, t0_ms=Estimate(8.0, (7.0, 9.0)), t1_ms=Estimate(1.0, (0.9, 1.1)), r2=0.99, batches=(1, 4, 16)
)


def targets(
    law: BatchModel = LOCAL_SERVICE_LAW, of: VariantData | None = None, slo_ms: float = 60.0
) -> tuple[MeasuredTarget, ...]:
    local = LocalResult(variants=(of or facts(PLAIN),), batch_models=(law,))
    result = run_of((stage(PLAIN, "single-stream", 9.0),), local).result
    return build_local_targets("run", result, LOCAL_SERVICE_HERE, (parse_objective(f"latency_ms.p95 < {slo_ms}"),))


def service(found: tuple[MeasuredTarget, ...]) -> BatchService | RequestService:
    (one,) = found
    assert one.fit is not None
    law = one.fit.services[0].service
    assert isinstance(law, BatchService | RequestService)
    return law


def test_a_batch_law_becomes_a_server_that_batches_and_all_of_it_is_assumed() -> None:
    found = targets()
    law = service(found)
    assert isinstance(law, BatchService)
    assert (law.fixed_s, law.per_item_s) == pytest.approx((0.008, 0.001))
    (one,) = found
    assert one.is_assumed
    assert one.name == "run: digits cpu as-is, model only"
    assert 0 < one.curve.max_rate_per_s < law.max_throughput_per_s
    assert one.curve.cores_used == 1.0
    assert one.fit is not None
    assert one.fit.highest_per_s == law.max_throughput_per_s
    first, second = one.fit.services[0].log_covariance
    assert math.sqrt(first[0]) == pytest.approx(math.log(9 / 7) / (2 * 1.96), rel=1e-3)
    assert second[0] == 0.0


def test_the_largest_batch_is_the_measured_one_that_carries_most_inside_the_slo() -> None:
    loose, tight = service(targets(slo_ms=500.0)), service(targets(slo_ms=20.0))
    assert isinstance(loose, BatchService)
    assert isinstance(tight, BatchService)
    assert loose.max_batch == 16
    assert tight.max_batch in (1, 4)


def test_where_no_law_holds_calls_of_one_row_are_what_a_request_takes() -> None:
    law = service(targets(replace(LOCAL_SERVICE_LAW, reason="times do not lie on a line")))
    assert isinstance(law, RequestService)
    assert law.slots == 1
    assert law.mean_s == pytest.approx(0.009, rel=0.02)
    assert law.cv == pytest.approx(1 / 30, rel=0.2)  # gamma times of shape 900


def test_a_variant_that_failed_or_lost_accuracy_or_misses_the_slo_is_no_target() -> None:
    reference = np.array([1.0] * 450)
    right = {kept: np.array([1.0] * kept + [0.0] * (450 - kept)) for kept in (440, 449)}
    wrong, fine = (facts(PLAIN, accuracy=compute_accuracy(right[kept], reference, "top-1")) for kept in (440, 449))
    assert targets(of=wrong) == ()
    assert len(targets(of=fine)) == 1
    assert targets(of=facts(PLAIN, failure="out of memory")) == ()
    assert targets(slo_ms=5.0) == ()


def test_a_run_of_an_endpoint_has_none() -> None:
    result = replace(run_of((), LocalResult(variants=())).result, local=None)
    assert build_local_targets("run", result, LOCAL_SERVICE_HERE, ()) == ()


def swept(clients: int) -> Stage:
    """Three seconds of one slot of 10 ms, where each client waits its turn."""
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
def test_a_sweep_over_clients_without_a_law_is_assumed(clients: tuple[int, ...], is_assumed: bool) -> None:
    slo = (parse_objective("latency_ms.p95 < 50"),)
    found = build_run_target("run", HERE, [swept(count) for count in clients], slo, None)
    assert found is not None
    assert (found.fit is None, found.is_assumed, found.curve.max_rate_per_s) == (is_assumed, is_assumed, 100.0)
    assert found.notes[0].startswith("The load came from clients that wait for their responses")


def test_a_closed_loops_are_fitted_by_clients() -> None:
    load_points = build_client_load_points([swept(clients) for clients in (1, 2, 4, 8)])
    found = build_measured_target("run", HERE, curve(), load_points)
    assert found.fit is not None
    assert found.fit.highest_per_s == 100.0


def test_a_sweep_over_clients_that_all_missed_the_slo_is_no_target() -> None:
    slo = (parse_objective("latency_ms.p95 < 5"),)
    assert build_run_target("run", HERE, [swept(count) for count in (1, 2, 4, 8)], slo, None) is None
    assert build_run_target("run", HERE, [], slo, None) is None


def test_the_cached_share_is_what_the_responses_say_and_else_what_the_server_counted() -> None:
    silent = next(stage for stage in full_run().result.stages if stage.verdict.status == "VALID")

    def said(share: float, mean_input: float, responses: int) -> Stage:
        metrics = {
            "cached_input_share": {"value": Estimate(share, n=responses)},
            "input_tokens": {"mean": Estimate(mean_input)},
        }
        return replace(silent, metrics=silent.metrics | metrics)

    counters = ServerCounters(input_tokens=500, cached_input_tokens=300, looked_up_input_tokens=400)
    counted = replace(silent, server=counters)
    assert measure_cached_input_share([silent]) is None
    assert measure_cached_input_share([counted, silent]) == 0.75
    assert measure_cached_input_share([replace(silent, server=replace(counters, looked_up_input_tokens=None))]) == 0.6
    # 800 of 1,000 and 0 of 1,000; a stage that is not valid does not count
    invalid = replace(said(1.0, 1.0, 10**6), verdict=replace(silent.verdict, status="INVALID"))
    assert measure_cached_input_share([said(0.8, 100.0, 10), said(0.0, 10.0, 100), counted, invalid]) == 0.4
