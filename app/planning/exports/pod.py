"""Pod of one replica: its resource requests, its placement and its probes; and the comment at the top of a manifest."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from app.planning.exports.names import is_label_value
from app.planning.exports.scale import recommended_fleet
from app.planning.exports.settings import ExportSettings
from app.planning.formatting import format_share
from app.records.plan import Fleet, Plan

_METHODS = {
    "simulated": "the simulation",
    "formula": "a queueing formula, which is a preview",
    "measured": "the measured max rate alone, with no simulation",
}


def build_comment(plan: Plan, placeholders: Iterable[str], notes: Iterable[str]) -> list[str]:
    """Return the lines of the leading comment, without line ends.

    Raises UsageError where the plan recommends nothing.
    """
    fleet = recommended_fleet(plan)
    assert plan.recommendation is not None
    lines = [
        f"Made by Sizewise from the plan of {plan.planned_on}. Read it before you apply it.",
        "",
        f"Recommended: {plan.recommendation.sentence}",
        f"SLO: {' and '.join(plan.slo) or 'none'}",
        format_slo_probability(plan, fleet),
        *format_basis(fleet),
    ]
    lines += _list_lines("Fill in:", placeholders)
    return [*lines, *_list_lines("Note:", [*notes, *_plan_notes(plan)]), ""]


def format_slo_probability(plan: Plan, fleet: Fleet) -> str:
    target_text = f"{format_share(plan.assurance)} was asked"
    if fleet.chances is None:
        return f"P(SLO met) at the peak: not simulated; sized for {format_share(plan.assurance)}."
    probabilities = fleet.chances
    return (
        f"P(SLO met) at the peak, spares left out: {format_share(probabilities.planned)}; {target_text}. "
        f"One instance fewer: {format_share(probabilities.one_fewer)}; one more: "
        f"{format_share(probabilities.one_more)}."
    )


def format_basis(fleet: Fleet) -> list[str]:
    measured_on = f" Measured on {fleet.measured_on}." if fleet.measured_on else ""
    age = f"{fleet.price_age_days} days old on the plan's day"
    lines = [
        f"Rests on: figures that are {fleet.basis}; the size was settled by {_METHODS[fleet.settled]}.{measured_on}",
        f"Price: {fleet.price_kind}, of {fleet.price_date}, {age} ({fleet.price_source})",
    ]
    reasons = "; ".join(fleet.risk_reasons)
    return [*lines, f"Risk: {fleet.risk} of 4{f', {reasons}' if reasons else ''}"]


def _plan_notes(plan: Plan) -> list[str]:
    notes = []
    if plan.mix is not None:
        notes.append("The plan also found a mix of offers; this is the recommended fleet of one offer.")
    return notes


def _list_lines(title: str, sentences: Iterable[str]) -> list[str]:
    listed = [f"- {sentence}" for sentence in sentences]
    return ["", title, *listed] if listed else []


INSTANCE_TYPE = "node.kubernetes.io/instance-type"
REGION = "topology.kubernetes.io/region"
_PROVIDERS_WITH_LABELS = ("aws", "azure", "gcp")
_ANY_REGION = "any"
_RESOURCES_BY_PREFIX = (
    ("mi", "amd.com/gpu"),
    ("gaudi", "habana.ai/gaudi"),
    ("inferentia", "aws.amazon.com/neuron"),
    ("trainium", "aws.amazon.com/neuron"),
    ("tpu", "google.com/tpu"),
)
_PROBE_S = 10


def build_resources(fleet: Fleet, settings: ExportSettings) -> dict[str, dict[str, Any]]:
    """Return the pod's share of its node's resources.

    There is no CPU limit: throttling delays requests, and the node's other pods have their own share.
    """
    pods = fleet.replicas_per_instance or 1
    requests: dict[str, Any] = {}
    limits: dict[str, Any] = {}
    if fleet.vcpus is not None:
        requests["cpu"] = f"{max(1, math.floor(fleet.vcpus * settings.node_share / pods * 1000))}m"
    if settings.instance_memory_gib is not None:
        mib = max(1, math.floor(settings.instance_memory_gib * settings.node_share / pods * 1024))
        requests["memory"] = limits["memory"] = f"{mib}Mi"
    if fleet.accelerator is not None:
        requests[accelerator_resource(fleet, settings)] = limits[accelerator_resource(fleet, settings)] = max(
            1, _devices(fleet) // pods
        )
    return {"requests": requests, **({"limits": limits} if limits else {})}


def accelerator_resource(fleet: Fleet, settings: ExportSettings) -> str:
    if settings.accelerator_resource is not None:
        return settings.accelerator_resource
    key = fleet.accelerator or ""
    return next((name for prefix, name in _RESOURCES_BY_PREFIX if key.startswith(prefix)), "nvidia.com/gpu")


def build_placement(fleet: Fleet, settings: ExportSettings) -> dict[str, Any]:
    """Return `nodeSelector` and `tolerations`, where there are any."""
    selector = {}
    if is_label_value(fleet.instance_type):
        selector[INSTANCE_TYPE] = fleet.instance_type
    if fleet.provider in _PROVIDERS_WITH_LABELS and fleet.region != _ANY_REGION and is_label_value(fleet.region):
        selector[REGION] = fleet.region
    result: dict[str, Any] = {"nodeSelector": selector} if selector else {}
    if fleet.accelerator is not None:  # nodes with accelerators are commonly tainted with the name of the resource
        taint = accelerator_resource(fleet, settings)
        result["tolerations"] = [{"key": taint, "operator": "Exists", "effect": "NoSchedule"}]
    return result


def build_zone_spread(fleet: Fleet, labels: dict[str, str]) -> list[dict[str, Any]]:
    """Return a spread over zones where there is a spare; a zone without room is no reason to run fewer pods."""
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
    """Return the probes. The start may take `start_within_s`; the other two probes begin after it."""

    def http_probe(path: str, failures: int) -> dict[str, Any]:
        return {
            "httpGet": {"path": path, "port": settings.port_or_default},
            "periodSeconds": _PROBE_S,
            "timeoutSeconds": 2,
            "failureThreshold": failures,
        }

    return {
        "startupProbe": http_probe(settings.ready_path, math.ceil(settings.start_within_s / _PROBE_S)),
        "readinessProbe": http_probe(settings.ready_path, 2),
        "livenessProbe": http_probe(settings.live_path, 6),
    }


def list_pod_notes(fleet: Fleet, settings: ExportSettings) -> list[str]:
    """Return notes on the pod's resource requests and placement, as sentences."""
    pods, reserved = fleet.replicas_per_instance or 1, format_share(1 - settings.node_share)
    pods_text = "one pod" if pods == 1 else f"{pods} pods"
    notes = [f"An instance holds {pods_text}; {reserved} of its CPU and memory is left to its own system."]
    if fleet.vcpus is None:
        notes.append("The price list does not tell the instance's vCPUs, so no CPU is asked for.")
    if settings.instance_memory_gib is None:
        notes.append("The instance's memory is not known here, so no memory is asked for.")
    if not is_label_value(fleet.instance_type):
        notes.append(f"{fleet.instance_type} cannot be a node's label: select the nodes yourself.")
    elif fleet.provider not in _PROVIDERS_WITH_LABELS:
        notes.append(f"{INSTANCE_TYPE} is the price list's name: see what {fleet.provider}'s nodes are labelled.")
    return notes + _accelerator_notes(fleet, settings, pods)


def _accelerator_notes(fleet: Fleet, settings: ExportSettings, pods: int) -> list[str]:
    if fleet.accelerator is None:
        return []
    name, devices = accelerator_resource(fleet, settings), _devices(fleet)
    if pods > devices:
        times = math.ceil(pods / devices)
        return [
            f"{pods} replicas share {devices} {fleet.accelerator}: the device plugin must offer each of {name} "
            f"{times} times (time-slicing or MPS), else {pods - devices} of every {pods} pods find no place."
        ]
    if devices % pods:
        return [f"{devices % pods} of an instance's {devices} {fleet.accelerator} stay without a pod."]
    return []


def _devices(fleet: Fleet) -> int:
    """Return the number of devices; a fraction of an accelerator sold as an instance is one device to its node."""
    return max(1, math.ceil(fleet.accelerator_count - 1e-9))
