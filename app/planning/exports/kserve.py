"""Export of the recommended fleet as a KServe InferenceService, scaled by Knative."""

from __future__ import annotations

import math
from typing import Any

from app.errors import UsageError
from app.planning.exports.autoscaling import build_metadata
from app.planning.exports.names import Document, dump_yaml
from app.planning.exports.pod import (
    build_comment,
    build_placement,
    build_probes,
    build_resources,
    list_pod_notes,
    list_server_notes,
)
from app.planning.exports.scale import Scale, compute_scale, format_rounded_down, get_recommended_fleet
from app.planning.exports.settings import ExportSettings, fill_in_settings, get_value, list_placeholders
from app.records.metrics import metric_label
from app.records.plan import Fleet, Plan

_LATENCY_METRICS = ("latency_ms", "service_ms")
_SIGMA_COUNT = 3
_ANNOTATIONS = {
    "serving.kserve.io/deploymentMode": "Serverless",  # called Knative in newer versions, which still accept this value
    "autoscaling.knative.dev/target-utilization-percentage": "100",  # otherwise Knative aims at 70 % of the target
}


def build_kserve_manifest(plan: Plan, settings: ExportSettings) -> str:
    """Build the YAML of an InferenceService. With any autoscaler except `none`, Knative scales the
    service.

    Raises UsageError if the plan recommends no fleet, and for `scheduled`, which an
    InferenceService does not support.
    """
    if settings.autoscaler == "scheduled":
        raise UsageError(
            "an InferenceService has no schedule", hint="Export for KServe with another autoscaler, or for Kubernetes."
        )
    settings = fill_in_settings(settings, plan)
    fleet, scale, name = get_recommended_fleet(plan), compute_scale(plan), settings.dns_name
    fields = ("model_uri",) if settings.predictor == "onnx" else ("image", "port", "ready_path")
    document = {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {**build_metadata(name, settings), "annotations": dict(_ANNOTATIONS)},
        "spec": {"predictor": _build_predictor(plan, fleet, scale, settings)},
    }
    return dump_yaml(
        build_comment(plan, list_placeholders(settings, *fields), _list_notes(plan, fleet, scale, settings)), [document]
    )


def estimate_in_flight_per_pod(plan: Plan, fleet: Fleet) -> int | None:
    """Estimate the number of requests in flight in a pod at the max rate within the SLO, by
    Little's law.

    The result is the mean of a Poisson distribution plus three standard deviations. The estimate is
    high, because tail latency is used in place of mean latency. Return `None` if the plan has no
    latency of whole requests.
    """
    latency_ms, capacity = fleet.latency_at_peak.value, fleet.capacity_per_instance_per_s.value
    if plan.latency_metric.partition(".")[0] not in _LATENCY_METRICS or latency_ms is None or capacity is None:
        return None
    mean_in_flight = capacity / (fleet.replicas_per_instance or 1) * latency_ms / 1000
    return max(1, math.ceil(mean_in_flight + _SIGMA_COUNT * math.sqrt(mean_in_flight)))


def _build_predictor(plan: Plan, fleet: Fleet, scale: Scale, settings: ExportSettings) -> Document:
    is_fixed = settings.autoscaler == "none"
    return {
        "minReplicas": scale.max_pods if is_fixed else scale.min_pods,
        "maxReplicas": scale.max_pods,
        "containerConcurrency": estimate_in_flight_per_pod(plan, fleet) or 0,  # 0 means no limit
        **({} if is_fixed else _build_scaling(plan, fleet, scale)),
        **build_placement(fleet, settings),
        **_build_server(fleet, settings),
    }


def _build_scaling(plan: Plan, fleet: Fleet, scale: Scale) -> dict[str, Any]:
    """Return the scaling metric and target: requests per second or, below one request per second
    per pod, concurrency.

    A rate below one request per second is no valid target, because targets must be integers.
    """
    if scale.target_per_s >= 1:
        return {"scaleMetric": "rps", "scaleTarget": math.floor(scale.target_per_s)}
    latency_ms = fleet.latency_at_peak.value
    if estimate_in_flight_per_pod(plan, fleet) is None or latency_ms is None:
        return {"scaleMetric": "concurrency", "scaleTarget": 1}
    return {"scaleMetric": "concurrency", "scaleTarget": max(1, math.floor(scale.target_per_s * latency_ms / 1000))}


def _build_server(fleet: Fleet, settings: ExportSettings) -> dict[str, Any]:
    if settings.predictor == "onnx":
        return {
            "model": {
                "modelFormat": {"name": "onnx"},
                "protocolVersion": "v2",
                "storageUri": get_value(settings, "model_uri"),
                "resources": build_resources(fleet, settings),
            }
        }
    container = {
        "name": "kserve-container",
        "image": get_value(settings, "image"),
        "ports": [{"containerPort": settings.port_or_default, "protocol": "TCP"}],
        "resources": build_resources(fleet, settings),
        # Knative's own deadline covers the start, and older versions reject a startup probe
        **{name: probe for name, probe in build_probes(settings).items() if name == "readinessProbe"},
    }
    return {"containers": [container]}


def _list_notes(plan: Plan, fleet: Fleet, scale: Scale, settings: ExportSettings) -> list[str]:
    notes = list_pod_notes(fleet, settings)
    if settings.predictor == "onnx":
        notes.append(
            "KServe chooses the server of an ONNX model, but the plan is based on the measured one. Benchmark this "
            "server as well."
        )
    else:
        notes += list_server_notes(plan, settings)
    if estimate_in_flight_per_pod(plan, fleet) is None:
        notes.append(
            "containerConcurrency is unlimited, because the number of requests in flight cannot be estimated from "
            f"{metric_label(plan.latency_metric)}."
        )
    else:
        notes.append(
            "containerConcurrency is the mean number of requests in flight at the max rate within SLO plus three sigma."
        )
    if settings.autoscaler != "none":
        notes.append(
            f"Knative's autoscaler runs {scale.min_pods} to {scale.max_pods} pods, including {scale.spare_pods} spare. "
            f"Its target, {format_rounded_down(scale.target_per_s)} req/s per pod, is the planned rate of each pod. "
            f"The plan's monthly cost covers {scale.max_pods} pods."
        )
    if "nodeSelector" in build_placement(fleet, settings):
        notes.append("Knative rejects nodeSelector and tolerations unless its config-features enables them.")
    return notes
