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
from tests.app.planning.exports.manifest_schemas import validate_manifest
from tests.app.planning.exports.planned import (
    UNKNOWN,
    build_gpu_plan,
    build_plan,
    count_pods,
    get_comments,
    get_fleet,
    with_fleet,
    without_recommendation,
)

HPA_SETTINGS = ExportSettings(name="Fraud", autoscaler="hpa")


def export_service(plan: Plan, settings: ExportSettings = HPA_SETTINGS) -> dict[str, Any]:
    service: dict[str, Any] = yaml.load(build_kserve_manifest(plan, settings), Loader=yaml.CSafeLoader)
    return service


def export_predictor(plan: Plan, settings: ExportSettings = HPA_SETTINGS) -> dict[str, Any]:
    predictor: dict[str, Any] = export_service(plan, settings)["spec"]["predictor"]
    return predictor


@pytest.mark.parametrize("predictor", ["onnx", "container"])
@pytest.mark.parametrize("autoscaler", ["none", "hpa", "keda"])
@pytest.mark.parametrize(
    "plan", [build_plan, partial(build_plan, redundancy=0), build_gpu_plan, partial(build_gpu_plan, replicas=4)]
)
def test_kserve_manifests_are_valid(plan: Callable[[], Plan], autoscaler: Autoscaler, predictor: Predictor) -> None:
    validate_manifest(
        export_service(plan(), ExportSettings(autoscaler=autoscaler, predictor=predictor, instance_memory_gib=32.0))
    )


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
def test_manifest_schemas_detect_invalid_kserve_fields(path: tuple[str, ...], value: object) -> None:
    service = copy.deepcopy(export_service(build_plan()))
    validate_manifest(service)
    parent = service
    for key in path[:-1]:
        parent = parent[key]
    if value is None:
        del parent[path[-1]]
    else:
        parent[path[-1]] = value
    with pytest.raises(jsonschema.ValidationError):
        validate_manifest(service)


def test_kserve_replicas_and_scale_target_match_the_plan() -> None:
    plan = build_plan()
    predictor = export_predictor(plan)
    assert predictor["maxReplicas"] == count_pods(plan)
    assert predictor["minReplicas"] == 24
    assert predictor["scaleMetric"] == "rps"
    assert predictor["scaleTarget"] == math.floor(get_fleet(plan).planned_rate_per_replica_per_s or 0.0)
    annotations = export_service(plan)["metadata"]["annotations"]
    assert annotations["autoscaling.knative.dev/target-utilization-percentage"] == "100"
    fixed = export_predictor(plan, ExportSettings())
    assert fixed["minReplicas"] == fixed["maxReplicas"] == count_pods(plan)
    assert "scaleTarget" not in fixed


def test_container_concurrency_is_littles_law_plus_3_standard_deviations() -> None:
    plan = build_plan()
    latency_ms = get_fleet(plan).latency_at_peak.value
    assert latency_ms is not None
    mean = 100.0 * latency_ms / 1000
    assert export_predictor(plan)["containerConcurrency"] == math.ceil(mean + 3 * math.sqrt(mean))
    slower = with_fleet(plan, latency_at_peak=Estimate(4000.0))
    assert export_predictor(slower)["containerConcurrency"] == 460


@pytest.mark.parametrize("metric", ["ttft_ms.p99", "tpot_ms.p50", "error_rate"])
def test_container_concurrency_is_unlimited_without_total_latency(metric: str) -> None:
    plan = msgspec.structs.replace(build_plan(), latency_metric=metric)
    assert export_predictor(plan)["containerConcurrency"] == 0
    assert f"cannot be estimated from {metric_label(metric)}" in get_comments(build_kserve_manifest(plan, HPA_SETTINGS))
    assert estimate_in_flight_per_pod(with_fleet(build_plan(), latency_at_peak=UNKNOWN), get_fleet(plan)) is not None
    assert export_predictor(with_fleet(build_plan(), latency_at_peak=UNKNOWN))["containerConcurrency"] == 0


def test_pods_below_1_request_per_s_scale_by_concurrency() -> None:
    slow = with_fleet(build_plan(), planned_rate_per_replica_per_s=0.5, latency_at_peak=Estimate(6000.0))
    assert (export_predictor(slow)["scaleMetric"], export_predictor(slow)["scaleTarget"]) == ("concurrency", 3)
    without_latency = with_fleet(slow, latency_at_peak=UNKNOWN)
    assert (export_predictor(without_latency)["scaleMetric"], export_predictor(without_latency)["scaleTarget"]) == (
        "concurrency",
        1,
    )


def test_predictor_is_a_model_or_a_container() -> None:
    model = export_predictor(build_plan(), ExportSettings(model_uri="gs://models/fraud"))["model"]
    assert model["modelFormat"] == {"name": "onnx"}
    assert model["storageUri"] == "gs://models/fraud"
    container_settings = ExportSettings(
        predictor="container", image="registry.example/fraud:1", port=9000, ready_path="/up"
    )
    container = export_predictor(build_plan(), container_settings)["containers"][0]
    assert (container["name"], container["image"]) == ("kserve-container", "registry.example/fraud:1")
    assert container["ports"][0]["containerPort"] == container["readinessProbe"]["httpGet"]["port"] == 9000
    assert container["readinessProbe"]["httpGet"]["path"] == "/up"
    assert "startupProbe" not in container
    assert "Fill in" not in get_comments(build_kserve_manifest(build_plan(), container_settings))
    assert "s3://REPLACE-ME/model" in get_comments(build_kserve_manifest(build_plan(), HPA_SETTINGS))


def test_kserve_export_refuses_schedules_and_plans_without_recommendation() -> None:
    with pytest.raises(UsageError, match="no schedule"):
        build_kserve_manifest(build_plan(), ExportSettings(autoscaler="scheduled"))
    with pytest.raises(UsageError, match="recommends no fleet"):
        build_kserve_manifest(without_recommendation(build_plan()), HPA_SETTINGS)
