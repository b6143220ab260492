from __future__ import annotations

import msgspec
import pytest

from app.records.plan import Spread
from app.records.result import Result
from app.reporting.report import build_report
from reports.model import Report
from tests.fakes.results import COMMAND, SPEC, Run, full_run, interrupted_run, run_without_load


def build_report_of_run(run: Run, spec_text: str = SPEC) -> Report:
    return build_report(run.result, run.rows, run.telemetry, spec_text, COMMAND, "{}")


@pytest.fixture(scope="module")
def full_report() -> Report:
    return build_report_of_run(full_run(gpu=True))


def test_report_header_and_reproduction_are_those_of_the_run(full_report: Report) -> None:
    assert full_report.header.target == "digits over oip at http://127.0.0.1:41837"
    assert full_report.header.hardware == "this machine, 2 vCPU"
    assert full_report.header.tool == "sizewise 0.1.0"
    assert (full_report.reproduce.command, full_report.reproduce.seed) == (COMMAND, 7)
    assert full_report.result_json == "{}"


def test_report_tiles_are_max_rate_pooled_latencies_and_costs(full_report: Report) -> None:
    pooled = full_run().result.stages[-1]
    tiles = {tile.label: tile for tile in full_report.tiles}

    assert list(tiles) == [
        "Max rate", "p95 latency", "p99 latency", "Error rate", "Fleet cost", "Cost per 1k inferences",
    ]  # fmt: skip
    assert tiles["Max rate"].quantity.value == 218.0
    assert tiles["p95 latency"].quantity.value == pooled.metrics["latency_ms"]["p95"].value
    limit = tiles["p95 latency"].limit
    assert limit is not None
    assert (limit.comparator, limit.value, limit.unit) == ("<", 50.0, "ms")
    assert tiles["Fleet cost"].quantity.basis == "extrapolated"


def test_fleet_cost_tile_has_the_range_of_the_plan() -> None:
    run = full_run()
    assert run.result.plan is not None
    assert run.result.plan.recommendation is not None
    fleet = msgspec.structs.replace(
        run.result.plan.recommendation.fleet, usd_per_month_needed=Spread(900.0, 1200.0, 1900.0)
    )
    recommendation = msgspec.structs.replace(run.result.plan.recommendation, fleet=fleet)
    plan = msgspec.structs.replace(run.result.plan, recommendation=recommendation)
    report = build_report_of_run(msgspec.structs.replace(run, result=msgspec.structs.replace(run.result, plan=plan)))
    tiles = {tile.label: tile for tile in report.tiles}
    assert tiles["Fleet cost"].quantity.ci95 is None
    assert (tiles["Fleet cost"].note or "").startswith("P10–P90: $900–1,900; ")


def test_failed_stages_are_in_the_report(full_report: Report) -> None:
    assert [stage.name for stage in full_report.stages].count("probe 400 req/s") == 1
    failed = next(stage for stage in full_report.stages if stage.name == "probe 400 req/s")
    assert failed.meets_slo is False
    assert failed.failed == 790
    assert failed.evaluated == failed.p95
    assert full_report.stages[0].start_s == 0


def test_model_section_is_built_from_stages_with_a_variant(full_report: Report) -> None:
    assert full_report.model is not None
    assert [row.batch for row in full_report.model.batches] == [1, 2, 4, 8, 16, 32]
    assert full_report.model.accuracy is not None
    assert full_report.model.accuracy.value == pytest.approx(443 / 450)
    assert [part.name for part in full_report.model.cold_start] == [
        "library load", "session creation", "first inference",
    ]  # fmt: skip
    assert [check.name for check in full_report.model.proof] == ["provider"]


def test_cold_start_and_accuracy_may_be_absent() -> None:
    run = full_run()
    bare = tuple(
        msgspec.structs.replace(
            stage, metrics={name: stage.metrics[name] for name in ("service_ms", "throughput_per_s")}
        )
        for stage in run.result.stages
        if stage.variant is not None
    )
    report = build_report_of_run(msgspec.structs.replace(run, result=msgspec.structs.replace(run.result, stages=bare)))
    assert report.model is not None
    assert (report.model.accuracy, report.model.cold_start) == (None, ())


def test_objective_margins_are_shares_of_the_limit(full_report: Report) -> None:
    slo = full_report.objectives[0]
    assert slo.observed.value is not None
    assert slo.margin == pytest.approx((50 - slo.observed.value) / 50)
    assert [row.kind for row in full_report.objectives] == ["SLO", "SLO", "gate"]


def test_report_offers_are_sorted_by_cost_and_rejected_offers_are_separate(full_report: Report) -> None:
    assert full_report.plan is not None
    costs = [row.usd_per_month.value or 0 for row in full_report.plan.offers]
    assert costs == sorted(costs)
    assert [row.offer for row in full_report.plan.rejected_offers] == [
        "aws/g4dn.xlarge@us-east-1",
        "aws/g6.xlarge@us-east-1",
    ]
    assert full_report.plan.cheapest_rejected == "aws/g4dn.xlarge@us-east-1"
    assert sum(row.is_on_frontier for row in full_report.plan.offers) == 2


def test_unknown_environment_properties_have_no_value(full_report: Report) -> None:
    properties = {fact.label: fact.value for fact in full_report.environment}
    assert properties["CPU governor"] is None
    assert properties["GPUs"] == "0: NVIDIA L4 (22.5 GiB, 72.0 W, id a81f)"


def test_report_without_load_has_empty_sections() -> None:
    report = build_report_of_run(run_without_load())
    assert (report.load, report.max_rate, report.plan, report.model) == (None, None, None, None)
    assert (report.tiles, report.stages, report.spectra, report.errors, report.telemetry) == ((), (), (), (), ())


def test_report_of_an_interrupted_run_has_its_finished_stages() -> None:
    report = build_report_of_run(interrupted_run())
    assert report.max_rate is None
    assert len(report.stages) == 5
    assert report.load is not None
    assert {tile.label for tile in report.tiles} >= {"Model only: throughput"}


def test_tiles_without_a_rate_search_start_with_goodput() -> None:
    run = full_run()
    steady = msgspec.structs.replace(run.result.stages[-1], kind="steady", name="steady")
    result: Result = msgspec.structs.replace(run.result, max_rate=None, plan=None, stages=(steady,))
    report = build_report_of_run(msgspec.structs.replace(run, result=result))
    assert [tile.label for tile in report.tiles] == ["Goodput", "p95 latency", "p99 latency", "Error rate"]


@pytest.mark.parametrize("spec_text", ["", "[", "load: 3", "load: {seed: x, stages: [1]}"])
def test_invalid_spec_text_still_builds_a_report(spec_text: str) -> None:
    assert build_report_of_run(full_run(), spec_text).reproduce.seed is None
