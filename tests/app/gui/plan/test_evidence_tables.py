"""Tests of the tables of a plan's evidence, which the window shows."""

from __future__ import annotations

import datetime
from functools import cache

import msgspec
import pytest

from app.analysis.language_models import load_language_models
from app.analysis.published_points import load_published_points
from app.gui.plan.evidence_tables import PlanEvidence, build_plan_evidence
from app.gui.results.frames import SectionFrame
from app.planning.fleets import plan_fleets
from app.profiles.mlperf_results import list_model_results
from app.profiles.pricing.catalog import load_catalog
from app.records.evidence import MLPERF_SOURCE, PUBLISHED_SOURCES, PublishedServer
from app.records.plan import Plan
from app.records.planning_inputs import Alternatives, AssumedModel, OwnEvidence, OwnPoint, PlanningInputs
from app.records.traffic import TokenLengths, Traffic
from app.reporting.evidence_rows import build_nearest_row
from reports.sections.mlperf import CAVEAT
from tests.fakes.offers import catalog_of, gpu_offer
from tests.fakes.small_plan import planning_inputs

MODEL = "llama-3.1-8b"

pytestmark = pytest.mark.unit


@cache
def plan_model() -> tuple[Plan, PlanningInputs]:
    """Return the estimate of a plan for a published model, with its inputs."""
    catalog = catalog_of(gpu_offer("h", "h100-sxm5-80gb"))
    inputs = planning_inputs(
        measured=(),
        catalog=msgspec.structs.replace(catalog, accelerators=load_catalog().accelerators),
        slo="ttft_ms.p95 < 2000",
        assumed_model=AssumedModel("my name", load_language_models()[MODEL].shape),
        traffic=Traffic(20.0, "flat", (1.0,) * 24, tokens=(TokenLengths(1.0, 1000.0, 200.0),)),
    )
    return plan_fleets(inputs, estimate_only=True), inputs


def build_evidence(**changes: object) -> PlanEvidence:
    plan, inputs = plan_model()
    evidence = build_plan_evidence(plan, msgspec.structs.replace(inputs, **changes), ())
    assert evidence is not None
    return evidence


def build_points(**changes: object) -> SectionFrame:
    """Return the table of the points of the planned model."""
    points = build_evidence(**changes).points
    assert points is not None
    return points


def build_own_evidence(tpot_ms: float) -> OwnEvidence:
    served = PublishedServer(
        model=MODEL, accelerator="l4", precision="bf16", engine="vllm", version="unknown", accelerators=1
    )
    point = OwnPoint(
        clients=8.0, rate_per_s=None, input_tokens=269.5, output_tokens=100.0, ttft_ms=None, tpot_ms=tpot_ms
    )
    return OwnEvidence(
        id="own-0badcafe",
        added_on=datetime.date(2026, 1, 2),
        tool="vllm bench",
        origin="result.json",
        model_name=MODEL,
        shape=load_language_models()[MODEL].shape,
        served=served,
        points=(point,),
    )


def test_nearest_points_of_the_plan_have_what_was_measured_and_predicted() -> None:
    nearest = build_evidence().nearest
    assert nearest is not None
    rows = [build_nearest_row(point) for point in plan_model()[0].nearest_points]
    assert list(nearest.frame["ttft_ms"]) == [row.ttft_ms for row in rows]
    assert list(nearest.frame["predicted_tpot_ms"]) == [row.predicted_tpot_ms for row in rows]
    assert "predicted by the model" in nearest.title
    assert {"ttft_ms", "predicted_ttft_ms"} <= nearest.quantities


def test_all_published_points_of_the_planned_model_are_listed_without_predictions() -> None:
    points, attributions = build_points(), build_evidence().attributions
    published = [point.id for point in load_published_points() if point.served.model == MODEL]
    assert list(points.frame["id"]) == published
    assert not {"predicted_ttft_ms", "rate_per_s", "speculation"} & set(points.frame.columns)
    assert points.title == f"Measured loads of {MODEL}"
    assert set(attributions) <= {MLPERF_SOURCE.attribution} | {source.attribution for source in PUBLISHED_SOURCES}
    assert attributions


def test_own_measurements_of_the_model_come_first() -> None:
    frame = build_points(own_evidence=(build_own_evidence(17.5),)).frame
    assert (frame["source"][0], frame["id"][0], frame["tpot_ms"][0]) == ("own", "own-0badcafe.1", 17.5)
    assert frame["ttft_ms"][0] == "n/a"
    assert len(frame) == len(build_points().frame) + 1


def test_tables_are_built_once_for_changes_that_do_not_affect_them() -> None:
    traffic = msgspec.structs.replace(plan_model()[1].traffic, peak_per_s=30.0)
    changed, evidence = build_evidence(traffic=traffic), build_evidence()
    assert changed.points is evidence.points
    assert changed.nearest is evidence.nearest
    assert changed.mlperf is evidence.mlperf


def test_model_without_published_points_has_only_those_near_to_the_plan() -> None:
    shape = load_language_models()["llama-2-70b"].shape
    evidence = build_evidence(assumed_model=AssumedModel("llama-2-70b", shape))
    assert evidence.model.model == "llama-2-70b"
    assert not evidence.model.rows
    assert evidence.nearest is not None


def test_mlperf_results_are_in_a_table_of_their_own_with_their_caveat() -> None:
    evidence = build_evidence()
    assert evidence.mlperf is not None
    assert list(evidence.mlperf.frame["tokens_per_s"]) == [row.tokens_per_s for row in list_model_results(MODEL)]
    assert evidence.mlperf.note == CAVEAT
    assert evidence.attributions[-1] == MLPERF_SOURCE.attribution


def test_model_that_mlperf_does_not_measure_has_no_table_of_its_results() -> None:
    shape = load_language_models()["deepseek-v3"].shape
    evidence = build_evidence(assumed_model=AssumedModel("deepseek-v3", shape))
    assert evidence.mlperf is None
    assert MLPERF_SOURCE.attribution not in evidence.attributions


def test_plan_of_measurements_has_no_evidence_of_a_language_model() -> None:
    plan, inputs = plan_model()
    assert build_plan_evidence(plan, msgspec.structs.replace(inputs, assumed_model=None), ()) is None


def test_server_is_that_of_the_recommended_replica() -> None:
    plan, inputs = plan_model()
    model, recommendation = inputs.assumed_model, plan.recommendation
    assert model is not None
    assert recommendation is not None
    assert recommendation.fleet.served_replica is not None
    replica = msgspec.structs.replace(recommendation.fleet.served_replica, weights="fp8", engine="sglang")
    fleet = msgspec.structs.replace(recommendation.fleet, served_replica=replica)
    plan = msgspec.structs.replace(plan, recommendation=msgspec.structs.replace(recommendation, fleet=fleet))
    model = msgspec.structs.replace(model, alternatives=Alternatives(("fp8",), ("sglang",)))
    evidence = build_plan_evidence(plan, msgspec.structs.replace(inputs, assumed_model=model), ())
    assert evidence is not None
    assert (evidence.server.engine, evidence.server.precision) == ("sglang", "fp8")
