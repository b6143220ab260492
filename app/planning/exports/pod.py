"""One replica as a pod: what it asks of its node, where it may run, and how it tells that it is ready."""

from __future__ import annotations

import math
from typing import Any

from app.planning.exports.names import is_label_value
from app.planning.exports.settings import ExportSettings
from app.planning.wording import share
from app.records.plan import Fleet

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
