from __future__ import annotations

import copy
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import jsonschema
import msgspec
import pytest
import yaml

from app.errors import UsageError
from app.planning.exports.kserve import build_kserve_manifest, estimate_in_flight_per_pod
from app.planning.exports.settings import Autoscaler, ExportSettings, Predictor
from app.records.estimate import Estimate
from app.records.metrics import metric_label
from app.records.plan import Plan
from tests.app.planning.exports.manifest_schemas import check
from tests.app.planning.exports.planned import (
    UNKNOWN,
    comments,
    fleet_of,
    planned,
    planned_on_cards,
    pods_of,
    with_fleet,
    without_recommendation,
)

SCALED = ExportSettings(name="Fraud", autoscaler="hpa")


def service_of(plan: Plan, settings: ExportSettings = SCALED) -> dict[str, Any]:
    found: dict[str, Any] = yaml.load(build_kserve_manifest(plan, settings), Loader=yaml.CSafeLoader)
    return found


def predictor_of(plan: Plan, settings: ExportSettings = SCALED) -> dict[str, Any]:
    found: dict[str, Any] = service_of(plan, settings)["spec"]["predictor"]
    return found


@pytest.mark.parametrize("predictor", ["onnx", "container"])
@pytest.mark.parametrize("autoscaler", ["none", "hpa", "keda"])
@pytest.mark.parametrize(
    "plan", [planned, partial(planned, redundancy=0), planned_on_cards, partial(planned_on_cards, replicas=4)]
)
def test_a_cluster_would_take_it(plan: Callable[[], Plan], autoscaler: Autoscaler, predictor: Predictor) -> None:
    check(service_of(plan(), ExportSettings(autoscaler=autoscaler, predictor=predictor, instance_memory_gib=32.0)))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("spec", "predictor", "model", "modelFormat"), {}),
        (("spec", "predictor", "model"), None),
        (("spec", "predictor", "scaleMetric"), "cpu"),
        (("spec", "predictor", "scaleTarget"), 0),
        (("spec", "predictor", "scaleTarget"), 52.5),
        (("spec", "predictor", "minReplicas"), 1000),
        (("spec", "predictor", "minReplica"), 1),
        (("spec", "predictor", "containerConcurrency"), -1),
        (("spec", "predictor", "nodeSelector", "a"), 1),
        (("spec", "predictor", "model", "resources", "requests"), "1"),
        (("metadata", "name"), "7b"),
        (("spec",), None),
    ],
)
def test_what_a_cluster_would_refuse_is_seen_by_these_tests(path: tuple[str, ...], value: object) -> None:
    service = copy.deepcopy(service_of(planned()))
    check(service)
    place = service
    for key in path[:-1]:
        place = place[key]
    if value is None:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    with pytest.raises(jsonschema.ValidationError):
        check(service)


def test_it_says_what_the_plan_says() -> None:
    plan = planned()
    predictor = predictor_of(plan)
    assert predictor["maxReplicas"] == pods_of(plan)
    assert predictor["minReplicas"] == 24
    assert predictor["scaleMetric"] == "rps"
    assert predictor["scaleTarget"] == math.floor(fleet_of(plan).planned_rate_per_replica_per_s or 0.0)
    annotations = service_of(plan)["metadata"]["annotations"]
    assert annotations["autoscaling.knative.dev/target-utilization-percentage"] == "100"
    fixed = predictor_of(plan, ExportSettings())
    assert fixed["minReplicas"] == fixed["maxReplicas"] == pods_of(plan)
    assert "scaleTarget" not in fixed


def test_the_concurrency_is_littles_law_with_room() -> None:
    plan = planned()
    latency_ms = fleet_of(plan).latency_at_peak.value
    assert latency_ms is not None
    mean = 100.0 * latency_ms / 1000
    assert predictor_of(plan)["containerConcurrency"] == math.ceil(mean + 3 * math.sqrt(mean))
    slower = with_fleet(plan, latency_at_peak=Estimate(4000.0))
    assert predictor_of(slower)["containerConcurrency"] == 460


@pytest.mark.parametrize("metric", ["ttft_ms.p99", "tpot_ms.p50", "error_rate"])
def test_a_part_of_the_time_says_nothing_of_the_number_in_flight(metric: str) -> None:
    plan = msgspec.structs.replace(planned(), latency_metric=metric)
    assert predictor_of(plan)["containerConcurrency"] == 0
    assert f"cannot be estimated from {metric_label(metric)}" in comments(build_kserve_manifest(plan, SCALED))
    assert estimate_in_flight_per_pod(with_fleet(planned(), latency_at_peak=UNKNOWN), fleet_of(plan)) is not None
    assert predictor_of(with_fleet(planned(), latency_at_peak=UNKNOWN))["containerConcurrency"] == 0


def test_slow_pods_are_scaled_by_what_they_have_in_hand() -> None:
    rare = with_fleet(planned(), planned_rate_per_replica_per_s=0.5, latency_at_peak=Estimate(6000.0))
    assert (predictor_of(rare)["scaleMetric"], predictor_of(rare)["scaleTarget"]) == ("concurrency", 3)
    blind = with_fleet(rare, latency_at_peak=UNKNOWN)
    assert (predictor_of(blind)["scaleMetric"], predictor_of(blind)["scaleTarget"]) == ("concurrency", 1)


def test_a_model_or_a_container() -> None:
    model = predictor_of(planned(), ExportSettings(model_uri="gs://models/fraud"))["model"]
    assert model["modelFormat"] == {"name": "onnx"}
    assert model["storageUri"] == "gs://models/fraud"
    own = ExportSettings(predictor="container", image="registry.example/fraud:1", port=9000, ready_path="/up")
    container = predictor_of(planned(), own)["containers"][0]
    assert (container["name"], container["image"]) == ("kserve-container", "registry.example/fraud:1")
    assert container["ports"][0]["containerPort"] == container["readinessProbe"]["httpGet"]["port"] == 9000
    assert container["readinessProbe"]["httpGet"]["path"] == "/up"
    assert "startupProbe" not in container
    assert "Fill in" not in comments(build_kserve_manifest(planned(), own))
    assert "s3://REPLACE-ME/model" in comments(build_kserve_manifest(planned(), SCALED))


def test_what_kserve_cannot_do_is_refused() -> None:
    with pytest.raises(UsageError, match="no schedule"):
        build_kserve_manifest(planned(), ExportSettings(autoscaler="scheduled"))
    with pytest.raises(UsageError, match="recommends no fleet"):
        build_kserve_manifest(without_recommendation(planned()), SCALED)
