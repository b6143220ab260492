"""Kubernetes autoscaler manifests: an HPA by request rate, or a KEDA ScaledObject by request rate
or by schedule."""

from __future__ import annotations

from typing import Any

from app.planning.exports.names import Document
from app.planning.exports.scale import Scale, format_rounded_down
from app.planning.exports.settings import ExportSettings, get_value

_POLLING_INTERVAL_S = 15
_FAILURE_THRESHOLD = 4


def build_hpa(name: str, scale: Scale, settings: ExportSettings) -> Document:
    """Build an HPA on requests per second per pod, a metric that a metrics adapter has to provide.

    Spares are not included, because an HPA cannot add a constant number of pods.
    """
    target = {"type": "AverageValue", "averageValue": format_rounded_down(scale.target_per_s)}
    metric = {"metric": {"name": get_value(settings, "metric_name")}, "target": target}
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": build_metadata(name, settings),
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
            "minReplicas": scale.min_pods,
            "maxReplicas": scale.max_pods,
            "metrics": [{"type": "Pods", "pods": metric}],
        },
    }


def build_keda_by_rate(name: str, scale: Scale, settings: ExportSettings) -> Document:
    """Build a ScaledObject on the requests per second of the whole service.

    The query adds a rate for the spares, so that the spares run at any load. If Prometheus is
    unavailable, the whole fleet runs.
    """
    threshold, query = format_rounded_down(scale.target_per_s), get_value(settings, "metric_query")
    trigger = {
        "type": "prometheus",
        "metricType": "AverageValue",
        "metadata": {
            "serverAddress": get_value(settings, "prometheus_url"),
            "query": f"( {query} ) + {scale.spare_pods} * {threshold}" if scale.spare_pods else query,
            "threshold": threshold,
        },
    }
    fallback = {"failureThreshold": _FAILURE_THRESHOLD, "replicas": scale.max_pods}
    return _build_scaled_object(
        name, scale.min_pods, scale.max_pods, settings, {"fallback": fallback, "triggers": [trigger]}
    )


def build_keda_by_schedule(name: str, scale: Scale, hourly_pods: tuple[int, ...], settings: ExportSettings) -> Document:
    """Build a ScaledObject with one cron trigger per range of hours that needs more pods than the
    quietest hour.

    If several triggers are active, KEDA applies the trigger with the most pods.
    """
    min_pods = min(hourly_pods)
    hour_ranges = _list_hour_ranges(hourly_pods, min_pods)
    if hour_ranges:
        triggers = [
            _build_cron_trigger(_format_cron_start(start_hour, settings), f"0 {end_hour} * * *", pods, settings)
            for start_hour, end_hour, pods in hour_ranges
        ]
    else:  # all hours need the same number of pods, but KEDA rejects an object without triggers
        triggers = [_build_cron_trigger("0 0 * * *", "59 23 * * *", min_pods, settings)]
    return _build_scaled_object(name, min_pods, scale.max_pods, settings, {"triggers": triggers})


def build_metadata(name: str, settings: ExportSettings) -> dict[str, Any]:
    namespace = {} if settings.namespace is None else {"namespace": settings.namespace}
    return {"name": name, **namespace, "labels": build_labels(name)}


def build_labels(name: str) -> dict[str, str]:
    return {"app.kubernetes.io/name": name}


def _build_scaled_object(
    name: str, min_pods: int, max_pods: int, settings: ExportSettings, extra_fields: dict[str, Any]
) -> Document:
    return {
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": build_metadata(name, settings),
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
            "pollingInterval": _POLLING_INTERVAL_S,
            "minReplicaCount": min_pods,
            "maxReplicaCount": max_pods,
            **extra_fields,
        },
    }


def _list_hour_ranges(hourly_pods: tuple[int, ...], min_pods: int) -> list[tuple[int, int, int]]:
    """Return the ranges of consecutive hours that need the same number of pods, above the minimum,
    as (first hour, end, pods).

    `end_hour` is the hour after the last hour. A range may extend past midnight.
    """
    change_hours = [hour for hour in range(24) if hourly_pods[hour] != hourly_pods[hour - 1]]
    next_change_hours = [*change_hours[1:], *change_hours[:1]]
    return [
        (start_hour, end_hour, hourly_pods[start_hour])
        for start_hour, end_hour in zip(change_hours, next_change_hours, strict=True)
        if hourly_pods[start_hour] > min_pods
    ]


def _format_cron_start(hour: int, settings: ExportSettings) -> str:
    minute_of_day = (hour * 60 - settings.start_early_minutes) % (24 * 60)
    return f"{minute_of_day % 60} {minute_of_day // 60} * * *"


def _build_cron_trigger(start: str, end: str, pods: int, settings: ExportSettings) -> dict[str, Any]:
    schedule = {"timezone": get_value(settings, "timezone"), "start": start, "end": end}
    return {"type": "cron", "metadata": {**schedule, "desiredReplicas": str(pods)}}
