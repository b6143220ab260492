"""Recommended fleet as a Deployment with its Service, its disruption budget and its autoscaler."""

from __future__ import annotations

from app.planning.exports.autoscaling import hpa, keda_by_clock, keda_by_rate, labels, metadata
from app.planning.exports.names import Document, dns_name, yaml_text
from app.planning.exports.pod import comment, placement, pod_notes, probes, resources, zone_spread
from app.planning.exports.scale import Scale, daily_pods, recommended_fleet, rounded_down, scale_of
from app.planning.exports.settings import ExportSettings, text_of, to_fill_in
from app.planning.wording import share
from app.records.plan import Fleet, Plan

_SCALER_FIELDS = {
    "none": (),
    "hpa": ("metric_name",),
    "keda": ("prometheus_url", "metric_query"),
    "scheduled": ("timezone",),
}
_RANDOM_ROUTERS = ("random",)


def kubernetes(plan: Plan, settings: ExportSettings) -> str:
    """Return the YAML of all documents. Raises UsageError where the plan recommends nothing."""
    fleet, scale, name = recommended_fleet(plan), scale_of(plan), dns_name(settings.name)
    documents = [
        _deployment(name, fleet, scale, settings),
        _service(name, settings),
        _disruption_budget(name, scale, settings),
    ]
    match settings.autoscaler:
        case "none":
            pass
        case "hpa":
            documents.append(hpa(name, scale, settings))
        case "keda":
            documents.append(keda_by_rate(name, scale, settings))
        case "scheduled":
            documents.append(keda_by_clock(name, scale, daily_pods(plan), settings))
    open_fields = to_fill_in(settings, "image", "port", *_SCALER_FIELDS[settings.autoscaler])
    return yaml_text(comment(plan, open_fields, _notes(plan, fleet, scale, settings)), documents)


def _deployment(name: str, fleet: Fleet, scale: Scale, settings: ExportSettings) -> Document:
    """Return the Deployment.

    It has no `replicas` where an autoscaler sets them, since each `apply` would reset them.
    """
    spread = zone_spread(fleet, labels(name))
    container = {
        "name": "server",
        "image": text_of(settings, "image"),
        "ports": [{"name": "http", "containerPort": settings.known_port}],
        "resources": resources(fleet, settings),
        **probes(settings),
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata(name, settings),
        "spec": {
            **({"replicas": scale.most} if settings.autoscaler == "none" else {}),
            "selector": {"matchLabels": labels(name)},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": _rolling_update(scale)},
            "template": {
                "metadata": {"labels": labels(name)},
                "spec": {
                    **placement(fleet, settings),
                    **({"topologySpreadConstraints": spread} if spread else {}),
                    "containers": [container],
                },
            },
        },
    }


def _rolling_update(scale: Scale) -> dict[str, int]:
    """Return the limits of a rolling update.

    The nodes are full, so the spare's pods make room for their successors; without a spare one more pod is needed.
    """
    if scale.may_be_missing:
        return {"maxUnavailable": scale.may_be_missing, "maxSurge": 0}
    return {"maxUnavailable": 0, "maxSurge": 1}


def _service(name: str, settings: ExportSettings) -> Document:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(name, settings),
        "spec": {
            "type": "ClusterIP",
            "selector": labels(name),
            "ports": [{"name": "http", "port": 80, "targetPort": "http"}],
        },
    }


def _disruption_budget(name: str, scale: Scale, settings: ExportSettings) -> Document:
    """Return the PodDisruptionBudget.

    It allows one pod at a time even without a spare: a budget of 0 would prevent nodes from ever being drained.
    """
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": metadata(name, settings),
        "spec": {"maxUnavailable": max(1, scale.may_be_missing), "selector": {"matchLabels": labels(name)}},
    }


def _notes(plan: Plan, fleet: Fleet, scale: Scale, settings: ExportSettings) -> list[str]:
    notes = pod_notes(fleet, settings)
    if not scale.spare:
        notes.append("No spare is planned: a rollout needs room for one more pod, and a drained node costs capacity.")
    if plan.router is not None and plan.router not in _RANDOM_ROUTERS:
        notes.append(
            f"The plan's router is {plan.router}. A Service spreads connections at random, with longer tails: put a "
            f"proxy that does it in front."
        )
    return notes + _scaling_notes(plan, scale, settings)


def _scaling_notes(plan: Plan, scale: Scale, settings: ExportSettings) -> list[str]:
    if settings.autoscaler == "none":
        return []
    bounds = (
        f"{scale.least} to {scale.most} pods: the quietest hour's need in proportion to the peak's, and the peak's at "
        f"{share(plan.assurance)} assurance, {scale.spare} spare in both. The plan's month pays for {scale.most}."
    )
    nodes = "Fewer pods cost less only where the cluster gives back the nodes that they leave."
    if settings.autoscaler == "scheduled":
        return [
            bounds,
            nodes,
            "By the clock alone: it knows the usual day, not a surprise, nor a campaign's days.",
            f"Pods start {settings.start_early_minutes} min before their hour, which must cover node, image and model.",
        ]
    target = f"{rounded_down(scale.target_per_s)}/s per pod"
    notes = [bounds, nodes, f"The target, {target}, is the rate that the plan sizes each pod for."]
    if settings.autoscaler == "keda" and scale.spare:
        notes.append(f"The query adds {scale.spare} times the target, so that the {scale.spare} spare pods always run.")
    if settings.autoscaler == "hpa":
        if scale.spare:
            notes.append(
                f"At its peak an HPA runs the {scale.most - scale.spare} pods that the load needs, without the "
                f"{scale.spare} spare: it cannot add to a metric. Export with autoscaler=keda to keep them, or raise "
                "minReplicas."
            )
        notes.append("It needs a metrics adapter; until that offers the metric, the HPA keeps the pods that there are.")
    return notes
