"""Export of the recommended fleet as a Kubernetes Deployment, with Service, PodDisruptionBudget and
autoscaler."""

from __future__ import annotations

from app.planning.exports.autoscaling import (
    build_hpa,
    build_keda_by_rate,
    build_keda_by_schedule,
    build_labels,
    build_metadata,
)
from app.planning.exports.names import Document, dump_yaml
from app.planning.exports.pod import (
    build_comment,
    build_placement,
    build_probes,
    build_resources,
    build_zone_spread,
    list_pod_notes,
    list_server_notes,
)
from app.planning.exports.scale import (
    Scale,
    compute_hourly_pods,
    compute_scale,
    format_rounded_down,
    get_recommended_fleet,
)
from app.planning.exports.settings import ExportSettings, fill_in_settings, get_value, list_placeholders
from app.planning.formatting import format_share
from app.records.plan import Fleet, Plan

_FIELDS_BY_AUTOSCALER = {
    "none": (),
    "hpa": ("metric_name",),
    "keda": ("prometheus_url", "metric_query"),
    "scheduled": ("timezone",),
}
_RANDOM_ROUTERS = ("random",)


def build_kubernetes_manifests(plan: Plan, settings: ExportSettings) -> str:
    """Build the Kubernetes manifests of the recommended fleet as YAML. Raises UsageError if the
    plan recommends no fleet."""
    settings = fill_in_settings(settings, plan)
    fleet, scale, name = get_recommended_fleet(plan), compute_scale(plan), settings.dns_name
    documents = [
        _build_deployment(name, fleet, scale, settings),
        _build_service(name, settings),
        _build_disruption_budget(name, scale, settings),
    ]
    match settings.autoscaler:
        case "none":
            pass
        case "hpa":
            documents.append(build_hpa(name, scale, settings))
        case "keda":
            documents.append(build_keda_by_rate(name, scale, settings))
        case "scheduled":
            documents.append(build_keda_by_schedule(name, scale, compute_hourly_pods(plan), settings))
    placeholders = list_placeholders(
        settings, "image", "port", "ready_path", *_FIELDS_BY_AUTOSCALER[settings.autoscaler]
    )
    return dump_yaml(build_comment(plan, placeholders, _list_notes(plan, fleet, scale, settings)), documents)


def _build_deployment(name: str, fleet: Fleet, scale: Scale, settings: ExportSettings) -> Document:
    """Build the Deployment that runs the pods of the fleet.

    `replicas` is omitted if an autoscaler sets the number of pods, since each `kubectl apply` would
    reset the number.
    """
    zone_spread = build_zone_spread(fleet, build_labels(name))
    container = {
        "name": "server",
        "image": get_value(settings, "image"),
        "ports": [{"name": "http", "containerPort": settings.port_or_default}],
        "resources": build_resources(fleet, settings),
        **build_probes(settings),
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": build_metadata(name, settings),
        "spec": {
            **({"replicas": scale.max_pods} if settings.autoscaler == "none" else {}),
            "selector": {"matchLabels": build_labels(name)},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": _build_rolling_update(scale)},
            "template": {
                "metadata": {"labels": build_labels(name)},
                "spec": {
                    **build_placement(fleet, settings),
                    **({"topologySpreadConstraints": zone_spread} if zone_spread else {}),
                    "containers": [container],
                },
            },
        },
    }


def _build_rolling_update(scale: Scale) -> dict[str, int]:
    """Return `maxUnavailable` and `maxSurge` of a rolling update.

    The nodes are full, so a rollout replaces as many pods at a time as spare instances run. Without
    a spare, a rollout needs an additional pod.
    """
    if scale.max_unavailable:
        return {"maxUnavailable": scale.max_unavailable, "maxSurge": 0}
    return {"maxUnavailable": 0, "maxSurge": 1}


def _build_service(name: str, settings: ExportSettings) -> Document:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": build_metadata(name, settings),
        "spec": {
            "type": "ClusterIP",
            "selector": build_labels(name),
            "ports": [{"name": "http", "port": 80, "targetPort": "http"}],
        },
    }


def _build_disruption_budget(name: str, scale: Scale, settings: ExportSettings) -> Document:
    """Build the PodDisruptionBudget of the fleet's pods.

    One pod may be unavailable even without spares, because otherwise nodes could never be drained.
    """
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": build_metadata(name, settings),
        "spec": {"maxUnavailable": max(1, scale.max_unavailable), "selector": {"matchLabels": build_labels(name)}},
    }


def _list_notes(plan: Plan, fleet: Fleet, scale: Scale, settings: ExportSettings) -> list[str]:
    notes = [*list_pod_notes(fleet, settings), *list_server_notes(plan, settings)]
    if not scale.spare_pods:
        notes.append(
            "No spare is planned: a rollout needs capacity for one more pod, and draining a node reduces capacity."
        )
    elif not plan.max_unavailable:
        pods_text = "1 pod" if scale.max_unavailable == 1 else f"{scale.max_unavailable} pods"
        notes.append(
            f"A rollout makes up to {pods_text} unavailable at once, from the spares for failures. Plan with "
            "plan.max_unavailable=1 to have spares for rollouts, too."
        )
    if plan.router is not None and plan.router not in _RANDOM_ROUTERS:
        notes.append(
            f"The plan assumes the load-balancing policy {plan.router}. A Service balances connections at random, "
            "which increases tail latency. Route requests through a proxy with this policy."
        )
    return notes + _list_scaling_notes(plan, scale, settings)


def _list_scaling_notes(plan: Plan, scale: Scale, settings: ExportSettings) -> list[str]:
    if settings.autoscaler == "none":
        return []
    bounds_note = (
        f"{scale.min_pods} to {scale.max_pods} pods run, including {scale.spare_pods} spare. The minimum covers "
        f"the quietest hour, and the maximum covers the peak at {format_share(plan.confidence)} confidence. The plan's "
        f"monthly cost covers {scale.max_pods} pods."
    )
    nodes_note = "Fewer pods cost less only if the cluster removes the nodes that become empty."
    if settings.autoscaler == "scheduled":
        return [
            bounds_note,
            nodes_note,
            "Scaling is by schedule only: it covers the usual day, but neither unexpected load nor campaign days.",
            (
                f"Pods start {settings.start_early_minutes} min before their hour, which must cover node, image and "
                "model startup."
            ),
        ]
    target_text = f"{format_rounded_down(scale.target_per_s)} req/s per pod"
    notes = [bounds_note, nodes_note, f"The target, {target_text}, is the planned rate of each pod."]
    if settings.autoscaler == "keda" and scale.spare_pods:
        notes.append(
            f"The query adds {scale.spare_pods} times the target, so the {scale.spare_pods} spare pods always run."
        )
    if settings.autoscaler == "hpa":
        if scale.spare_pods:
            notes.append(
                f"At its peak an HPA runs the {scale.max_pods - scale.spare_pods} pods that the load needs, without "
                f"the {scale.spare_pods} spare, because it cannot add to a metric. Export with autoscaler=keda to "
                "run them, or raise minReplicas."
            )
        notes.append(
            "The HPA needs a metrics adapter. Until the adapter provides the metric, the HPA does not change the "
            "number of pods."
        )
    return notes
