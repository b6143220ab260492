"""One replica as a pod: what it asks of its node, where it may run, and how it tells that it is ready.

The facts that a plan's manifests carry in a comment at their top.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from app.planning.exports.names import is_label_value
from app.planning.exports.scale import recommended_fleet
from app.planning.exports.settings import ExportSettings
from app.planning.wording import share
from app.records.plan import Fleet, Plan

_SETTLED = {
    "simulated": "the simulation",
    "formula": "a queueing formula, which is a preview",
    "measured": "the measured max rate alone, with no simulation",
}


def comment(plan: Plan, to_fill_in: Iterable[str], notes: Iterable[str]) -> list[str]:
    """Lines, each without a line end of its own making. Raises UsageError where the plan recommends nothing."""
    fleet = recommended_fleet(plan)
    assert plan.recommendation is not None
    lines = [
        f"Made by Sizewise from the plan of {plan.planned_on}. Read it before you apply it.",
        "",
        f"Recommended: {plan.recommendation.sentence}",
        f"SLO: {' and '.join(plan.slo) or 'none'}",
        chance_of_slo(plan, fleet),
        *rests_on(fleet),
    ]
    lines += _listed("Fill in:", to_fill_in)
    return [*lines, *_listed("Note:", [*notes, *_of_the_plan(plan)]), ""]


def chance_of_slo(plan: Plan, fleet: Fleet) -> str:
    asked = f"{share(plan.assurance)} was asked"
    if fleet.chances is None:
        return f"P(SLO met) at the peak: not simulated; sized for {share(plan.assurance)}."
    chances = fleet.chances
    return (
        f"P(SLO met) at the peak, spares left out: {share(chances.planned)}; {asked}. "
        f"One instance fewer: {share(chances.one_fewer)}; one more: {share(chances.one_more)}."
    )


def rests_on(fleet: Fleet) -> list[str]:
    measured_on = f" Measured on {fleet.measured_on}." if fleet.measured_on else ""
    age = f"{fleet.price_age_days} days old on the plan's day"
    lines = [
        f"Rests on: figures that are {fleet.basis}; the size was settled by {_SETTLED[fleet.settled]}.{measured_on}",
        f"Price: {fleet.price_kind}, of {fleet.price_date}, {age} ({fleet.price_source})",
    ]
    reasons = "; ".join(fleet.risk_reasons)
    return [*lines, f"Risk: {fleet.risk} of 4{f', {reasons}' if reasons else ''}"]


def _of_the_plan(plan: Plan) -> list[str]:
    notes = []
    if plan.mix is not None:
        notes.append("The plan also found a mix of offers; this is the recommended fleet of one offer.")
    return notes


def _listed(title: str, sentences: Iterable[str]) -> list[str]:
    listed = [f"- {sentence}" for sentence in sentences]
    return ["", title, *listed] if listed else []


INSTANCE_TYPE = "node.kubernetes.io/instance-type"
REGION = "topology.kubernetes.io/region"
_LABELLED_AS_PRICED = ("aws", "azure", "gcp")
_NOWHERE = "any"
_MAKERS = (
    ("mi", "amd.com/gpu"),
    ("gaudi", "habana.ai/gaudi"),
    ("inferentia", "aws.amazon.com/neuron"),
    ("trainium", "aws.amazon.com/neuron"),
    ("tpu", "google.com/tpu"),
)
_PROBE_S = 10


def resources(fleet: Fleet, settings: ExportSettings) -> dict[str, dict[str, Any]]:
    """Its share of the node. No CPU limit: what is throttled is late, and the node's other pods have theirs."""
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
    return next((name for prefix, name in _MAKERS if key.startswith(prefix)), "nvidia.com/gpu")


def placement(fleet: Fleet, settings: ExportSettings) -> dict[str, Any]:
    """`nodeSelector` and `tolerations`, where there is something to say."""
    selector = {}
    if is_label_value(fleet.instance_type):
        selector[INSTANCE_TYPE] = fleet.instance_type
    if fleet.provider in _LABELLED_AS_PRICED and fleet.region != _NOWHERE and is_label_value(fleet.region):
        selector[REGION] = fleet.region
    placed: dict[str, Any] = {"nodeSelector": selector} if selector else {}
    if fleet.accelerator is not None:  # nodes with accelerators are commonly tainted with the resource's name
        taint = accelerator_resource(fleet, settings)
        placed["tolerations"] = [{"key": taint, "operator": "Exists", "effect": "NoSchedule"}]
    return placed


def zone_spread(fleet: Fleet, labels: dict[str, str]) -> list[dict[str, Any]]:
    """Over zones where there is a spare; a zone without room is no reason to serve with fewer."""
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


def probes(settings: ExportSettings) -> dict[str, Any]:
    """The start may take `start_within_s`; until then neither of the other two is asked."""

    def asking(path: str, failures: int) -> dict[str, Any]:
        return {
            "httpGet": {"path": path, "port": settings.known_port},
            "periodSeconds": _PROBE_S,
            "timeoutSeconds": 2,
            "failureThreshold": failures,
        }

    return {
        "startupProbe": asking(settings.ready_path, math.ceil(settings.start_within_s / _PROBE_S)),
        "readinessProbe": asking(settings.ready_path, 2),
        "livenessProbe": asking(settings.live_path, 6),
    }


def pod_notes(fleet: Fleet, settings: ExportSettings) -> list[str]:
    """What a reader must know of the pod's requests and place, in sentences."""
    pods, kept = fleet.replicas_per_instance or 1, share(1 - settings.node_share)
    held = "one pod" if pods == 1 else f"{pods} pods"
    notes = [f"An instance holds {held}; {kept} of its CPU and memory is left to its own system."]
    if fleet.vcpus is None:
        notes.append("The price list does not tell the instance's vCPUs, so no CPU is asked for.")
    if settings.instance_memory_gib is None:
        notes.append("The instance's memory is not known here, so no memory is asked for.")
    if not is_label_value(fleet.instance_type):
        notes.append(f"{fleet.instance_type} cannot be a node's label: select the nodes yourself.")
    elif fleet.provider not in _LABELLED_AS_PRICED:
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
    """A part of an accelerator, sold as an instance, is one device to its node."""
    return max(1, math.ceil(fleet.accelerator_count - 1e-9))
