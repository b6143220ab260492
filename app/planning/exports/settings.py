"""Settings of an export: values that a manifest needs but a plan does not contain."""

from __future__ import annotations

import re
from typing import Literal

import msgspec

from app.errors import UsageError
from app.planning.exports.names import make_dns_name
from app.records.plan import Plan

Autoscaler = Literal["none", "hpa", "keda", "scheduled"]
"""Autoscaler of the exported fleet.

With `none`, the whole fleet runs all the time, as in the plan's monthly cost. `scheduled` is KEDA
with cron triggers.
"""
Predictor = Literal["onnx", "container"]
ExportKind = Literal["k8s", "kserve", "terraform", "csv", "json"]

DEFAULT_NAME, DEFAULT_PORT = "sizewise", 8080
_NAMESPACE_PATTERN = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_TIMEZONE_PATTERN = re.compile(r"[A-Za-z0-9_+\-/]{1,64}")
_RESOURCE_PATTERN = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?/[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?")
_MAX_EARLY_MINUTES = 59
_PLACEHOLDERS = {
    "image": "REPLACE-ME/your-server:tag",
    "model_uri": "s3://REPLACE-ME/model",
    "metric_name": "replace_me_requests_per_second",
    "metric_query": "sum(rate(REPLACE_ME_requests_total[1m]))",
    "prometheus_url": "http://REPLACE-ME:9090",
    "timezone": "Etc/UTC",
}
_PLACEHOLDER_DESCRIPTIONS = {
    "image": "the container image that serves the model",
    "model_uri": "the storage URI of the model files",
    "metric_name": "the name of the metrics adapter's custom metric for the request rate (req/s) of a pod",
    "metric_query": "the PromQL query for the request rate (req/s) of the whole service",
    "prometheus_url": "the URL of Prometheus",
    "timezone": "the time zone of the plan's hours",
}


class ExportSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of an export. Raises UsageError for invalid values.

    A value that is `None` is derived from the plan, where the plan contains it. Otherwise, a
    required value is exported as a placeholder, and listed in the comment at the top of the file.
    Names in the manifests are derived from `name`, which may be any string. `node_share` is the
    share of a node's CPU and memory that pods may request; the rest is reserved for the system.
    Replicas start `start_early_minutes` before the hour in which they are needed.
    """

    name: str | None = None
    namespace: str | None = None
    autoscaler: Autoscaler = "none"
    image: str | None = None
    port: int | None = None
    ready_path: str | None = None
    ready_port: int | None = None
    live_path: str | None = None
    start_within_s: float = 600.0
    model_uri: str | None = None
    predictor: Predictor = "onnx"
    metric_name: str | None = None
    metric_query: str | None = None
    prometheus_url: str | None = None
    timezone: str | None = None
    start_early_minutes: int = 10
    instance_memory_gib: float | None = None
    """Memory of one instance in GiB, if the price list does not state it."""
    node_share: float = 0.9
    accelerator_resource: str | None = None
    """Kubernetes resource name of the accelerator, such as `nvidia.com/gpu`. If `None`, the name is
    derived from the vendor."""

    def __post_init__(self) -> None:
        for is_invalid, message in (
            (self.namespace is not None and not _NAMESPACE_PATTERN.fullmatch(self.namespace),
             f"{self.namespace!r} is not a valid namespace. Use at most 63 lower-case letters, digits and hyphens."),
            (self.port is not None and not 1 <= self.port <= 65535,
             f"{self.port} is not a valid port. Use 1 to 65535."),
            (self.ready_port is not None and not 1 <= self.ready_port <= 65535,
             f"{self.ready_port} is not a valid port. Use 1 to 65535."),
            (not 0 < self.node_share <= 1,
             f"the share of a node that pods may request must be above 0 and at most 1 (got {self.node_share:g}). "
             "Use a value such as 0.9."),
            (not 0 <= self.start_early_minutes <= _MAX_EARLY_MINUTES,
             f"pods must start 0 to {_MAX_EARLY_MINUTES} min before their hour (got {self.start_early_minutes} min). "
             "Use a value such as 10."),
            (not 1 <= self.start_within_s <= 86_400,
             f"pods must start within 1 s to 1 day (got {self.start_within_s:g} s). Use a value such as 600."),
            (self.timezone is not None and not _TIMEZONE_PATTERN.fullmatch(self.timezone),
             f"{self.timezone!r} is not a valid time zone. Use a name such as Europe/Berlin."),
            (self.accelerator_resource is not None and not _RESOURCE_PATTERN.fullmatch(self.accelerator_resource),
             f"{self.accelerator_resource!r} is not a valid resource. Use a name such as nvidia.com/gpu."),
        ):  # fmt: skip
            if is_invalid:
                raise UsageError(message)

    @property
    def dns_name(self) -> str:
        return make_dns_name(DEFAULT_NAME if self.name is None else self.name)

    @property
    def port_or_default(self) -> int:
        return DEFAULT_PORT if self.port is None else self.port


_BY_AUTOSCALER: dict[str, Autoscaler] = {
    "metric_name": "hpa", "metric_query": "keda", "prometheus_url": "keda", "timezone": "scheduled",
    "start_early_minutes": "scheduled",
}  # fmt: skip
"""Settings of Kubernetes manifests that only one autoscaler uses."""
_BY_PREDICTOR: dict[str, Predictor] = {
    "image": "container", "port": "container", "ready_path": "container", "ready_port": "container",
    "model_uri": "onnx",
}  # fmt: skip
"""Settings of KServe manifests that only one predictor uses."""
_OF_KSERVE = frozenset(
    (*_BY_PREDICTOR, "name", "namespace", "autoscaler", "predictor", "instance_memory_gib", "node_share",
     "accelerator_resource")
)  # fmt: skip
_ONLY_OF_KSERVE = frozenset(("model_uri", "predictor"))


def check_setting_is_used(name: str, kind: ExportKind, settings: ExportSettings) -> None:
    """Raise UsageError if a setting has no effect on this kind of export with the other settings."""
    is_manifest = kind in ("k8s", "kserve")
    autoscaler = _BY_AUTOSCALER.get(name) if kind == "k8s" else None
    predictor = _BY_PREDICTOR.get(name) if kind == "kserve" else None
    if name != "name" and (not is_manifest or (name in _ONLY_OF_KSERVE if kind == "k8s" else name not in _OF_KSERVE)):
        raise UsageError(
            f"--with {name} has no effect on --export {kind}",
            hint="Leave it out, or use --export k8s or kserve." if not is_manifest else "Leave it out.",
        )
    for key, needed, actual in (
        ("autoscaler", autoscaler, settings.autoscaler),
        ("predictor", predictor, settings.predictor),
    ):
        if needed is not None and needed != actual:
            raise UsageError(
                f"--with {name} has no effect without {key}={needed}",
                hint=f"Add --with {key}={needed}, or leave it out.",
            )


def fill_in_settings(settings: ExportSettings, plan: Plan) -> ExportSettings:
    """Return the settings with the values that the plan contains in place of `None`: name, port and
    health check paths of the measured server, and the memory of an instance."""
    fleet = None if plan.recommendation is None else plan.recommendation.fleet
    if settings.instance_memory_gib is None and fleet is not None:
        settings = msgspec.structs.replace(settings, instance_memory_gib=fleet.memory_gib)
    server = plan.server
    if server is None:
        return settings
    is_ready_path_set = settings.ready_path is not None
    return msgspec.structs.replace(
        settings,
        name=server.name if settings.name is None else settings.name,
        port=server.port if settings.port is None else settings.port,
        ready_path=settings.ready_path if is_ready_path_set else server.ready_path,
        ready_port=settings.ready_port if is_ready_path_set or settings.ready_port else server.ready_port,
        live_path=server.live_path if settings.live_path is None else settings.live_path,
    )


def get_value(settings: ExportSettings, field: str) -> str:
    """Return the value of a setting; if the value is `None`, return the placeholder."""
    value: str | None = getattr(settings, field)
    return _PLACEHOLDERS[field] if value is None else value


def list_placeholders(settings: ExportSettings, *fields: str) -> list[str]:
    """Return one sentence for each setting in `fields` that is exported as a placeholder, or without
    which a part of the manifest is omitted."""
    sentences = []
    for field in fields:
        if getattr(settings, field) is not None:
            continue
        if field == "port":
            sentences.append(f"{DEFAULT_PORT}: the port that the server listens on (assumed)")
        elif field == "ready_path":
            sentences.append(
                "readinessProbe: the check that a pod can serve requests. Its path is not known, so there is no probe. "
                "Export with ready_path=PATH."
            )
        else:
            sentences.append(f"{_PLACEHOLDERS[field]}: {_PLACEHOLDER_DESCRIPTIONS[field]}")
    return sentences
