"""Manifests that change the number of pods: an HPA, or a KEDA ScaledObject by request rate or by time of day."""

from __future__ import annotations

from typing import Any

from app.planning.exports.names import Document
from app.planning.exports.scale import Scale, format_rounded_down
from app.planning.exports.settings import ExportSettings, get_text

_POLL_S = 15
_FAILED_POLLS = 4


def build_hpa(name: str, scale: Scale, settings: ExportSettings) -> Document:
    """Return an HPA by requests per second per pod, which a metrics adapter has to provide.

    An HPA cannot add spares to a metric.
    """
    target = {"type": "AverageValue", "averageValue": format_rounded_down(scale.target_per_s)}
    metric = {"metric": {"name": get_text(settings, "metric_name")}, "target": target}
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": metadata(name, settings),
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
            "minReplicas": scale.min_pods,
            "maxReplicas": scale.max_pods,
            "metrics": [{"type": "Pods", "pods": metric}],
        },
    }


def build_keda_by_rate(name: str, scale: Scale, settings: ExportSettings) -> Document:
    """Return a ScaledObject by the requests per second of the whole service.

    The spares' share is added to the query, so that they run at every rate. While Prometheus does not respond, the
    whole fleet runs.
    """
    threshold, query = format_rounded_down(scale.target_per_s), get_text(settings, "metric_query")
    trigger = {
        "type": "prometheus",
        "metricType": "AverageValue",
        "metadata": {
            "serverAddress": get_text(settings, "prometheus_url"),
            "query": f"( {query} ) + {scale.spare_pods} * {threshold}" if scale.spare_pods else query,
            "threshold": threshold,
        },
    }
    fallback = {"failureThreshold": _FAILED_POLLS, "replicas": scale.max_pods}
    return _scaled_object(name, scale.min_pods, scale.max_pods, settings, {"fallback": fallback, "triggers": [trigger]})


def build_keda_by_schedule(
    name: str, scale: Scale, pods_by_hour: tuple[int, ...], settings: ExportSettings
) -> Document:
    """Return a ScaledObject with one cron trigger for each run of hours that needs more pods than the quietest hour.

    Where several triggers are active, the largest applies.
    """
    min_pods = min(pods_by_hour)
    runs = _runs(pods_by_hour, min_pods)
    if runs:
        triggers = [_cron(_cron_start(first, settings), f"0 {end} * * *", pods, settings) for first, end, pods in runs]
    else:  # every hour needs the same, and KEDA refuses an object without a trigger
        triggers = [_cron("0 0 * * *", "59 23 * * *", min_pods, settings)]
    return _scaled_object(name, min_pods, scale.max_pods, settings, {"triggers": triggers})


def metadata(name: str, settings: ExportSettings) -> dict[str, Any]:
    namespace = {} if settings.namespace is None else {"namespace": settings.namespace}
    return {"name": name, **namespace, "labels": labels(name)}


def labels(name: str) -> dict[str, str]:
    return {"app.kubernetes.io/name": name}


def _scaled_object(name: str, min_pods: int, max_pods: int, settings: ExportSettings, rest: dict[str, Any]) -> Document:
    return {
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": metadata(name, settings),
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
            "pollingInterval": _POLL_S,
            "minReplicaCount": min_pods,
            "maxReplicaCount": max_pods,
            **rest,
        },
    }


def _runs(pods_by_hour: tuple[int, ...], min_pods: int) -> list[tuple[int, int, int]]:
    """Return the runs of equal hours above the minimum, which may pass midnight.

    Each is its first hour, the hour after its last, and its pods.
    """
    changes = [hour for hour in range(24) if pods_by_hour[hour] != pods_by_hour[hour - 1]]
    following = [*changes[1:], *changes[:1]]
    return [
        (first, end, pods_by_hour[first])
        for first, end in zip(changes, following, strict=True)
        if pods_by_hour[first] > min_pods
    ]


def _cron_start(hour: int, settings: ExportSettings) -> str:
    minutes = (hour * 60 - settings.start_early_minutes) % (24 * 60)
    return f"{minutes % 60} {minutes // 60} * * *"


def _cron(start: str, end: str, pods: int, settings: ExportSettings) -> dict[str, Any]:
    schedule = {"timezone": get_text(settings, "timezone"), "start": start, "end": end}
    return {"type": "cron", "metadata": {**schedule, "desiredReplicas": str(pods)}}
