"""Pod of one replica (resource requests, placement and probes), and the comment at the top of a
manifest."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from app.planning.exports.names import is_label_value
from app.planning.exports.scale import get_recommended_fleet
from app.planning.exports.settings import ExportSettings
from app.planning.formatting import format_probability, format_share
from app.records.plan import Fleet, Plan

_SIZING_METHOD_TEXTS = {
    "simulated": "the simulation",
    "formula": "a queueing formula, which is an analytical estimate",
    "measured": "the measured max rate only, without simulation",
}


def build_comment(plan: Plan, placeholders: Iterable[str], notes: Iterable[str]) -> list[str]:
    """Build the lines of the comment at the top of a manifest, without line breaks.

    Raises UsageError if the plan recommends no fleet.
    """
    fleet = get_recommended_fleet(plan)
    assert plan.recommendation is not None
    lines = [
        f"Sizewise generated this file from the plan of {plan.planned_on}. Review it before you apply it.",
        "",
        f"Recommended: {plan.recommendation.sentence}",
        f"SLO: {' and '.join(plan.slo) or 'none'}",
        format_slo_probability(plan, fleet),
        *format_basis(fleet),
    ]
    lines += _build_comment_section("Fill in:", placeholders)
    return [*lines, *_build_comment_section("Note:", [*notes, *_list_plan_notes(plan)]), ""]


def format_slo_probability(plan: Plan, fleet: Fleet) -> str:
    target_text = f"target {format_share(plan.confidence)}"
    if fleet.slo_probabilities is None:
        return (
            "P(SLO met) at the peak was not simulated. The fleet is sized for "
            f"{format_share(plan.confidence)} confidence."
        )
    probabilities = fleet.slo_probabilities
    planned_text, fewer_text, more_text = map(
        format_probability, (probabilities.planned, probabilities.one_fewer, probabilities.one_more)
    )
    return (
        f"P(SLO met) at the peak, without spares: {planned_text} ({target_text}); one instance fewer: {fewer_text}; "
        f"one more: {more_text}"
    )


def format_basis(fleet: Fleet) -> list[str]:
    measurement_text = f" The capacity is based on the measurement of {fleet.measured_on}." if fleet.measured_on else ""
    sizing_text = _SIZING_METHOD_TEXTS[fleet.sizing_method]
    age_text = f"{fleet.price_age_days} days old when planned"
    lines = [
        f"The fleet is based on {fleet.basis} capacity and sized by {sizing_text}.{measurement_text}",
        f"Price: {fleet.price_kind}, from {fleet.price_date}, {age_text} ({fleet.price_source})",
    ]
    reasons_text = "; ".join(fleet.risk_reasons)
    return [*lines, f"Risk: {fleet.risk} of 4{f', {reasons_text}' if reasons_text else ''}"]


def _list_plan_notes(plan: Plan) -> list[str]:
    notes = []
    if plan.mix is not None:
        notes.append("The plan also found a mix of instance types; this is the recommended fleet of a single type.")
    return notes


def _build_comment_section(title: str, sentences: Iterable[str]) -> list[str]:
    lines = [f"- {sentence}" for sentence in sentences]
    return ["", title, *lines] if lines else []


INSTANCE_TYPE_LABEL = "node.kubernetes.io/instance-type"
REGION_LABEL = "topology.kubernetes.io/region"
_PROVIDERS_WITH_LABELS = ("aws", "azure", "gcp")
_ANY_REGION = "any"
_PREFIXES_AND_RESOURCES = (
    ("mi", "amd.com/gpu"),
    ("gaudi", "habana.ai/gaudi"),
    ("inferentia", "aws.amazon.com/neuron"),
    ("trainium", "aws.amazon.com/neuron"),
    ("tpu", "google.com/tpu"),
)
_PROBE_PERIOD_S = 10


def build_resources(fleet: Fleet, settings: ExportSettings) -> dict[str, dict[str, Any]]:
    """Build the resource requests and limits of a pod from its share of the node.

    The CPU limit is the share of all CPUs of the node, including those reserved for the system,
    because that is what a measured replica could use. A lower limit would throttle it.
    """
    pods = fleet.replicas_per_instance or 1
    requests: dict[str, Any] = {}
    limits: dict[str, Any] = {}
    if fleet.vcpus is not None:
        requests["cpu"] = _format_cpu(fleet.vcpus * settings.node_share / pods)
        limits["cpu"] = _format_cpu(fleet.vcpus / pods)
    if settings.instance_memory_gib is not None:
        memory_mib = max(1, math.floor(settings.instance_memory_gib * settings.node_share / pods * 1024))
        requests["memory"] = limits["memory"] = f"{memory_mib}Mi"
    if fleet.accelerator is not None:
        requests[get_accelerator_resource(fleet, settings)] = limits[get_accelerator_resource(fleet, settings)] = max(
            1, _count_devices(fleet) // pods
        )
    return {"requests": requests, **({"limits": limits} if limits else {})}


def _format_cpu(cpus: float) -> str:
    return f"{max(1, math.floor(cpus * 1000))}m"


def get_accelerator_resource(fleet: Fleet, settings: ExportSettings) -> str:
    if settings.accelerator_resource is not None:
        return settings.accelerator_resource
    accelerator_key = fleet.accelerator or ""
    return next(
        (name for prefix, name in _PREFIXES_AND_RESOURCES if accelerator_key.startswith(prefix)), "nvidia.com/gpu"
    )


def build_placement(fleet: Fleet, settings: ExportSettings) -> dict[str, Any]:
    """Build `nodeSelector` and `tolerations` of a pod. An empty field is omitted."""
    node_selector = {}
    if is_label_value(fleet.instance_type):
        node_selector[INSTANCE_TYPE_LABEL] = fleet.instance_type
    if fleet.provider in _PROVIDERS_WITH_LABELS and fleet.region != _ANY_REGION and is_label_value(fleet.region):
        node_selector[REGION_LABEL] = fleet.region
    placement: dict[str, Any] = {"nodeSelector": node_selector} if node_selector else {}
    if fleet.accelerator is not None:  # nodes with accelerators are commonly tainted with the name of the resource
        taint_key = get_accelerator_resource(fleet, settings)
        placement["tolerations"] = [{"key": taint_key, "operator": "Exists", "effect": "NoSchedule"}]
    return placement


def build_zone_spread(fleet: Fleet, labels: dict[str, str]) -> list[dict[str, Any]]:
    """Build the topology spread constraint over zones; empty if the fleet has no spare.

    The constraint is only a preference, so that pods are scheduled even if a zone has no capacity.
    """
    if not fleet.spare_instances:
        return []
    return [
        {
            "maxSkew": 1,
            "topologyKey": "topology.kubernetes.io/zone",
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": labels},
        }
    ]


def build_probes(settings: ExportSettings) -> dict[str, Any]:
    """Build startup, readiness and liveness probes; those without a known path are omitted.

    The startup probe allows `start_within_s` seconds; the other two probes begin afterwards. The
    readiness path is not used for the liveness probe, because a server that is only overloaded
    would be restarted.
    """
    if settings.ready_path is None:
        return {}
    ready_port = settings.port_or_default if settings.ready_port is None else settings.ready_port
    start_threshold = math.ceil(settings.start_within_s / _PROBE_PERIOD_S)
    probes = {
        "startupProbe": _build_http_probe(settings.ready_path, ready_port, start_threshold),
        "readinessProbe": _build_http_probe(settings.ready_path, ready_port, 2),
    }
    if settings.live_path is not None:
        probes["livenessProbe"] = _build_http_probe(settings.live_path, settings.port_or_default, 6)
    return probes


def _build_http_probe(path: str, port: int, failure_threshold: int) -> dict[str, Any]:
    return {
        "httpGet": {"path": path, "port": port},
        "periodSeconds": _PROBE_PERIOD_S,
        "timeoutSeconds": 2,
        "failureThreshold": failure_threshold,
    }


def list_server_notes(plan: Plan, settings: ExportSettings) -> list[str]:
    """Return notes, as sentences, on the values that come from the measured server."""
    server, notes = plan.server, []
    if server is not None and server.port is not None and server.port == settings.port:
        notes.append(
            f"{server.port} is the port of the measured URL. Export with port=N if that is the port of a gateway."
        )
    if server is not None and server.ready_path is not None and server.ready_path == settings.ready_path:
        notes.append(f"The probes use {server.ready_path}, as the profile or the protocol of the measured server does.")
    return notes


def list_pod_notes(fleet: Fleet, settings: ExportSettings) -> list[str]:
    """Return notes, as sentences, on the resource requests and the placement of a pod."""
    pods, reserved_text = fleet.replicas_per_instance or 1, format_share(1 - settings.node_share)
    pods_text = "one pod" if pods == 1 else f"{pods} pods"
    notes = [f"Each node runs {pods_text}; {reserved_text} of its CPU and memory is reserved for the system."]
    if fleet.vcpus is None:
        notes.append("The price list has no vCPU count, so no CPU is requested.")
    if settings.instance_memory_gib is None:
        notes.append("The instance's memory is unknown, so no memory is requested.")
    if not is_label_value(fleet.instance_type):
        notes.append(f"{fleet.instance_type} is not a valid node label. Select the nodes yourself.")
    elif fleet.provider not in _PROVIDERS_WITH_LABELS:
        notes.append(
            f"The node selector is the name in the price list. Check the {INSTANCE_TYPE_LABEL} label of the nodes of "
            f"{fleet.provider}."
        )
    return notes + _list_accelerator_notes(fleet, settings, pods)


def _list_accelerator_notes(fleet: Fleet, settings: ExportSettings, pods: int) -> list[str]:
    if fleet.accelerator is None:
        return []
    name, device_count = get_accelerator_resource(fleet, settings), _count_devices(fleet)
    if pods > device_count:
        pods_per_device = math.ceil(pods / device_count)
        return [
            f"{pods} replicas share {device_count} {fleet.accelerator}. The device plugin must offer each {name} "
            f"{pods_per_device} times (time-slicing or MPS), or {pods - device_count} of every {pods} pods cannot be "
            "scheduled."
        ]
    if device_count % pods:
        return [f"{device_count % pods} of an instance's {device_count} {fleet.accelerator} are not used by a pod."]
    return []


def _count_devices(fleet: Fleet) -> int:
    """Return the number of accelerator devices per instance. A fraction of an accelerator counts as
    one device."""
    return max(1, math.ceil(fleet.accelerator_count - 1e-9))
