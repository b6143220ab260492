"""Settings of `sizewise simulate --set`: the autoscaler, the lifecycle of replicas, and request
timeouts over one day.

Defaults are those of the simulated autoscaler, such as the Kubernetes HPA. Only the default target
and the default bounds of the number of replicas come from the plan, because they depend on the
model.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal, Self, assert_never

import msgspec
from pydantic import BeforeValidator, Field, PlainValidator, model_validator

from app.profiles import units
from app.profiles.loading import load_overrides
from app.profiles.problems import BadValueError
from app.profiles.settings import Count, PositiveSeconds, Rate, Seconds, Settings, Share, upper_bound
from app.profiles.traffic import ClockTime
from app.records.offers import Router
from app.records.scaling import (
    DEFAULT_SCALE_DOWN,
    DEFAULT_SCALE_UP,
    Autoscaler,
    ColdStartModel,
    FailureModel,
    Fixed,
    Hpa,
    Keda,
    Knative,
    Operations,
    PlannedReplica,
    Predictive,
    RatePolicy,
    RollingUpdate,
    ScalingMetric,
    ScalingRules,
    Scheduled,
    ScheduledReplicas,
    Transfer,
)

AUTOSCALERS = ("none", "hpa", "keda", "knative", "kserve", "schedule", "predictive")
_MAX_REPLICAS = 100_000
_TARGET_EXAMPLES = {"busy": "target=70%", "in-flight": "metric=in-flight with target=4", "rate": "target=12/s"}
_METRICS_BY_NAME: dict[str, ScalingMetric] = {"busy": "busy", "in-flight": "in_flight", "rate": "rate"}

_HPA_DEFAULTS, _KEDA_DEFAULTS, _KNATIVE_DEFAULTS = Hpa(target=1.0, max=1), Keda(target=1.0, max=1), Knative()
_PREDICTIVE_DEFAULTS = Predictive(rate_per_replica_per_s=1.0, lead_s=0.0, max=1)
_FAILURE_DEFAULTS, _UPDATE_DEFAULTS = FailureModel(mtbf_hours=1.0), RollingUpdate(at_s=0.0)
"""Records whose optional fields contain the defaults of the settings."""

Replicas = Annotated[int, Field(ge=0), upper_bound(_MAX_REPLICAS)]
PositiveReplicas = Annotated[Count, upper_bound(_MAX_REPLICAS)]
Multiple = Annotated[float, BeforeValidator(units.parse_multiple)]


def _parse_scaling_target(value: object) -> tuple[ScalingMetric, float]:
    """Parse the target of an autoscaler. Its unit determines the metric: utilization, requests in
    flight or rate. Raises BadValueError."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        target: tuple[ScalingMetric, float] = ("in_flight", float(value))
    elif isinstance(value, str) and value.rstrip().endswith("%"):
        target = ("busy", units.parse_share(value))
    elif isinstance(value, str) and "/" in value:
        target = ("rate", units.parse_rate_per_s(value))
    else:
        hint = "Write 70% for utilization, 4 for requests in flight, or 12/s for a rate."
        raise BadValueError(f"{value!r} is not a valid target", hint=hint)
    if target[1] <= 0:
        raise BadValueError(f"{value!r} must be above zero")
    return target


ScalingTarget = Annotated[tuple[ScalingMetric, float], BeforeValidator(_parse_scaling_target)]


class ScaleUpSettings(Settings):
    """Limits of scaling up.

    Within each `period`, at most `pods` replicas or the fraction `percent` of the current replicas
    is added, whichever is more. `None` disables a limit.
    """

    stabilization_s: Seconds = Field(default=DEFAULT_SCALE_UP.stabilization_s, alias="stabilization")
    pods: PositiveReplicas | None = 4
    percent: Multiple | None = 1.0
    period_s: PositiveSeconds = Field(default=15.0, alias="period")


class ScaleDownSettings(ScaleUpSettings):
    stabilization_s: Seconds = Field(default=DEFAULT_SCALE_DOWN.stabilization_s, alias="stabilization")
    pods: PositiveReplicas | None = None


class _BoundedSettings(Settings):
    """Bounds of the number of replicas. Without `max`, the upper bound is the number of replicas in
    the plan, or `min` if that is larger."""

    min: Replicas = _PREDICTIVE_DEFAULTS.min
    max: PositiveReplicas | None = None

    @model_validator(mode="after")
    def _check_bounds(self) -> Self:
        if self.max is not None and self.max < self.min:
            raise BadValueError(f"max is {self.max}, which is below min of {self.min}")
        return self

    def get_max_replicas(self, planned_replica: PlannedReplica) -> int:
        return max(self.min, planned_replica.replicas) if self.max is None else self.max


class _MetricScalingSettings(_BoundedSettings):
    """Settings of autoscalers that scale by a metric. By default, these autoscalers can scale to
    zero.

    `target` is the metric value per replica that the autoscaler maintains. Its unit determines the
    metric.
    """

    default_metric: ClassVar[ScalingMetric]
    metrics: ClassVar[tuple[str, ...]]

    metric: str | None = None
    target: ScalingTarget | None = None
    min: Replicas = _KNATIVE_DEFAULTS.min

    @model_validator(mode="after")
    def _check_consistency(self) -> Self:
        """Check that `metric` and `target` match.

        If the default metric is not requests in flight, a target without a unit is rejected unless
        `metric` is set, because the unit may have been forgotten.
        """
        if self.metric is not None and self.metric not in self.metrics:
            raise BadValueError(f"the metric {self.metric!r} is unknown", hint=f"Use one of {', '.join(self.metrics)}.")
        allowed_metrics = [_METRICS_BY_NAME[name] for name in ([self.metric] if self.metric else self.metrics)]
        if self.target is not None:
            has_no_unit = self.metric is None and self.default_metric == "busy" and self.target[0] == "in_flight"
            if has_no_unit or self.target[0] not in allowed_metrics:
                examples_text = ", or ".join(_TARGET_EXAMPLES[name] for name in self.metrics)
                raise BadValueError(
                    f"target does not match the metric {self.metric or self.default_metric}",
                    hint=f"Write {examples_text}.",
                )
        return self

    def get_target(self, planned_replica: PlannedReplica) -> tuple[ScalingMetric, float]:
        """Return the scaling metric and its target value per replica. If no target is set, the
        target value is that of the plan."""
        if self.target is not None:
            return self.target
        metric = self.default_metric if self.metric is None else _METRICS_BY_NAME[self.metric]
        return metric, {
            "busy": planned_replica.utilization,
            "in_flight": planned_replica.in_flight,
            "rate": planned_replica.per_s,
        }[metric]


class _HpaLikeSettings(_MetricScalingSettings):
    tolerance: Share = _HPA_DEFAULTS.tolerance
    sync_s: PositiveSeconds = Field(default=_HPA_DEFAULTS.sync_s, alias="sync")
    window_s: PositiveSeconds = Field(default=_HPA_DEFAULTS.window_s, alias="window")
    up: ScaleUpSettings = ScaleUpSettings()
    down: ScaleDownSettings = ScaleDownSettings()


class HpaSettings(_HpaLikeSettings):
    default_metric = "busy"
    metrics = ("busy", "in-flight", "rate")

    min: PositiveReplicas = _HPA_DEFAULTS.min


class KedaSettings(_HpaLikeSettings):
    """A KEDA autoscaler.

    With `buffers_requests`, requests that arrive while no replica is ready are queued. Otherwise,
    these requests are rejected.
    """

    default_metric = "in_flight"
    metrics = ("in-flight", "rate")

    activation: Annotated[float, Field(ge=0)] = _KEDA_DEFAULTS.activation
    buffers_requests: bool = _KEDA_DEFAULTS.buffers_requests
    polling_s: PositiveSeconds = Field(default=_KEDA_DEFAULTS.polling_s, alias="polling")
    cool_down_s: Seconds = Field(default=_KEDA_DEFAULTS.cool_down_s, alias="cool_down")


class KnativeSettings(_MetricScalingSettings):
    """A Knative autoscaler. The effective target is the fraction `utilization` of `target`."""

    default_metric = "in_flight"
    metrics = ("in-flight", "rate")

    utilization: Annotated[Share, Field(gt=0)] = _KNATIVE_DEFAULTS.utilization
    tick_s: PositiveSeconds = Field(default=_KNATIVE_DEFAULTS.tick_s, alias="tick")
    window_s: PositiveSeconds = Field(default=_KNATIVE_DEFAULTS.stable_s, alias="window")
    panic_window_s: PositiveSeconds = Field(default=_KNATIVE_DEFAULTS.panic_s, alias="panic_window")
    panic_threshold: Annotated[float, Field(gt=1, le=10)] = _KNATIVE_DEFAULTS.panic_threshold
    max_up_rate: Annotated[float, Field(gt=1, le=1e6)] = _KNATIVE_DEFAULTS.max_up_rate
    max_down_rate: Annotated[float, Field(gt=1, le=1e6)] = _KNATIVE_DEFAULTS.max_down_rate
    grace_s: Seconds = Field(default=_KNATIVE_DEFAULTS.grace_s, alias="grace")
    burst: Annotated[float, Field(ge=-1)] = _KNATIVE_DEFAULTS.burst


class KserveSettings(KnativeSettings):
    """KServe's serverless mode, which is Knative's autoscaler with at least one replica."""

    min: Replicas = 1


class ScheduleSettings(Settings):
    """Scaling by schedule.

    `table` maps times of day to numbers of replicas, such as {08:00: 12, 20:00: 4}. Without
    `table`, the plan's hourly schedule applies.
    """

    table: Annotated[dict[ClockTime, Replicas], Field(min_length=1)] | None = None


class PredictiveSettings(_BoundedSettings):
    """Predictive scaling: the number of replicas is chosen for the rate at a time `lead` ahead,
    which is assumed to be known. By default, `lead` is the duration of a cold start."""

    target: Rate | None = None
    lead_s: Seconds | None = Field(default=None, alias="lead")
    headroom: Share = _PREDICTIVE_DEFAULTS.headroom
    tick_s: PositiveSeconds = Field(default=_PREDICTIVE_DEFAULTS.tick_s, alias="tick")


class NoScalingSettings(Settings):
    @model_validator(mode="before")
    @classmethod
    def _check_empty(cls, value: Any) -> Any:
        if value:
            raise BadValueError(
                "no autoscaler is selected", hint=f"Set --autoscaler to one of {', '.join(AUTOSCALERS[1:])}."
            )
        return value


AutoscalerSettings = (
    NoScalingSettings | HpaSettings | KedaSettings | KnativeSettings | ScheduleSettings | PredictiveSettings
)


_MAX_HOURS = 1e6
_SECONDS_PER_HOUR = 3600.0


class Download(msgspec.Struct, frozen=True):
    """Download of a cold start, such as the image or the weights: a size in bytes, or a fixed
    duration in seconds."""

    size_bytes: float = 0.0
    duration_s: float | None = None


def _parse_download(value: object) -> Download:
    try:
        return Download(size_bytes=units.parse_bytes(value))
    except BadValueError:
        pass
    try:
        return Download(duration_s=units.parse_duration_s(value))
    except BadValueError:
        raise BadValueError(
            f"{value!r} is neither a size nor a duration", hint="Use a value such as 8GB or 40s."
        ) from None


def _parse_hours(value: object) -> float:
    return units.parse_duration_s(value) / _SECONDS_PER_HOUR


SizeOrTime = Annotated[Download, PlainValidator(_parse_download)]
Bandwidth = Annotated[float, BeforeValidator(units.parse_bytes_per_s)]
Hours = Annotated[float, BeforeValidator(_parse_hours), Field(gt=0), upper_bound(_MAX_HOURS)]


class ColdStartSettings(Settings):
    """Median durations of the phases of a cold start.

    The defaults are assumptions for a cloud VM that starts in minutes, a container image of 5 GB
    and a small model. `image` is loaded over the network. `weights` are loaded over the slowest of
    the given links. `spread` is the coefficient of variation of each phase. A request for a node
    fails with probability `refusal_probability` and is repeated after `retry`.
    """

    node_s: Seconds = Field(default=90.0, alias="node")
    image: SizeOrTime = Download(5e9)
    weights: SizeOrTime = Download(2e9)
    build_s: Seconds = Field(default=15.0, alias="build")
    warm_up_s: Seconds = Field(default=5.0, alias="warm_up")
    network: Bandwidth = 500e6
    disk: Bandwidth | None = None
    pcie: Bandwidth | None = None
    spread: Share = 0.3
    refusal_probability: Annotated[Share, Field(lt=1)] = 0.0
    retry_s: PositiveSeconds = Field(default=ColdStartModel().retry_s, alias="retry")


class FailureSettings(Settings):
    """Failures of replicas.

    `mtbf` is the mean time between failures of a replica. If `new_node` is true, each failure also
    removes the node.
    """

    mtbf_hours: Hours = Field(alias="mtbf")
    detect_s: Seconds = Field(default=_FAILURE_DEFAULTS.detect_s, alias="detect")
    new_node: bool = _FAILURE_DEFAULTS.new_node


class UpdateSettings(Settings):
    """A rolling update of the replicas to a new version, which starts at the time of day `at`."""

    at_s: ClockTime = Field(alias="at")
    surge: Share = _UPDATE_DEFAULTS.surge
    unavailable: Share = _UPDATE_DEFAULTS.unavailable


def build_cold_start(settings: ColdStartSettings, warm_nodes: int) -> ColdStartModel:
    return ColdStartModel(
        node_s=settings.node_s,
        image=_build_transfer(settings.image, network=settings.network),
        weights=_build_transfer(settings.weights, settings.network, settings.disk, settings.pcie),
        engine_s=settings.build_s,
        warm_up_s=settings.warm_up_s,
        cv=settings.spread,
        warm_nodes=warm_nodes,
        refusal_probability=settings.refusal_probability,
        retry_s=settings.retry_s,
    )


def _build_transfer(
    download: Download, network: float, disk: float | None = None, pcie: float | None = None
) -> Transfer:
    if download.duration_s is not None:
        return Transfer(download.duration_s, network=1.0)
    return Transfer(download.size_bytes, network, disk, pcie)


def build_failures(settings: FailureSettings | None) -> FailureModel | None:
    return None if settings is None else FailureModel(settings.mtbf_hours, settings.detect_s, settings.new_node)


def build_updates(settings: UpdateSettings | None) -> tuple[RollingUpdate, ...]:
    return () if settings is None else (RollingUpdate(settings.at_s, settings.surge, settings.unavailable),)


class DaySettings(Settings):
    """Settings of one simulated day.

    `warm_pool` is the number of idle instances that are kept running. `timeout` is the maximum time
    that a request waits before it is abandoned.
    """

    autoscaler: AutoscalerSettings
    cold_start: ColdStartSettings = ColdStartSettings()
    failures: FailureSettings | None = None
    update: UpdateSettings | None = None
    warm_pool: Replicas = 0
    drain_s: Seconds = Field(default=Operations().drain_s, alias="drain")
    timeout_s: PositiveSeconds = Field(default=30.0, alias="timeout")
    queue_limit: Annotated[int, Field(ge=0), upper_bound(10_000)] = 10_000
    router: Router | None = None


class _StaticDay(DaySettings):
    autoscaler: NoScalingSettings = NoScalingSettings()


class _HpaDay(DaySettings):
    autoscaler: HpaSettings = HpaSettings()


class _KedaDay(DaySettings):
    autoscaler: KedaSettings = KedaSettings()


class _KnativeDay(DaySettings):
    autoscaler: KnativeSettings = KnativeSettings()


class _KserveDay(DaySettings):
    autoscaler: KserveSettings = KserveSettings()


class _ScheduleDay(DaySettings):
    autoscaler: ScheduleSettings = ScheduleSettings()


class _PredictiveDay(DaySettings):
    autoscaler: PredictiveSettings = PredictiveSettings()


_DAY_SETTINGS_CLASSES: dict[str, type[DaySettings]] = dict(
    zip(
        AUTOSCALERS,
        (_StaticDay, _HpaDay, _KedaDay, _KnativeDay, _KserveDay, _ScheduleDay, _PredictiveDay),
        strict=True,
    )
)


def load_day_settings(autoscaler: str, overrides: Sequence[str]) -> DaySettings:
    """Load the settings of one simulated day with the given autoscaler. Raises ProfileError that
    names the invalid `--set` override."""
    return load_overrides(_DAY_SETTINGS_CLASSES[autoscaler], overrides)


def build_operations(settings: DaySettings, replicas_per_instance: int) -> Operations:
    return Operations(
        cold_start=build_cold_start(settings.cold_start, settings.warm_pool * replicas_per_instance),
        failures=build_failures(settings.failures),
        updates=build_updates(settings.update),
        drain_s=settings.drain_s,
    )


def build_autoscaler(settings: AutoscalerSettings, planned_replica: PlannedReplica, cold_start_s: float) -> Autoscaler:
    match settings:
        case NoScalingSettings():
            return Fixed(planned_replica.replicas)
        case HpaSettings():
            return _build_hpa(settings, planned_replica)
        case KedaSettings():
            return _build_keda(settings, planned_replica)
        case KnativeSettings():
            return _build_knative(settings, planned_replica)
        case ScheduleSettings():
            table = settings.table or {
                hour * _SECONDS_PER_HOUR: count for hour, count in enumerate(planned_replica.by_hour)
            }
            return Scheduled(tuple(ScheduledReplicas(at_s, table[at_s]) for at_s in sorted(table)))
        case PredictiveSettings():
            return _build_predictive(settings, planned_replica, cold_start_s)
        case _:
            assert_never(settings)


def _build_hpa(settings: HpaSettings, planned_replica: PlannedReplica) -> Hpa:
    metric, target = settings.get_target(planned_replica)
    return Hpa(
        target=target,
        max=settings.get_max_replicas(planned_replica),
        metric=metric,
        min=settings.min,
        tolerance=settings.tolerance,
        sync_s=settings.sync_s,
        window_s=settings.window_s,
        up=_build_rules(settings.up),
        down=_build_rules(settings.down),
    )


def _build_keda(settings: KedaSettings, planned_replica: PlannedReplica) -> Keda:
    metric, target = settings.get_target(planned_replica)
    return Keda(
        target=target,
        max=settings.get_max_replicas(planned_replica),
        metric="rate" if metric == "rate" else "in_flight",
        min=settings.min,
        activation=settings.activation,
        buffers_requests=settings.buffers_requests,
        polling_s=settings.polling_s,
        cool_down_s=settings.cool_down_s,
        tolerance=settings.tolerance,
        sync_s=settings.sync_s,
        window_s=settings.window_s,
        up=_build_rules(settings.up),
        down=_build_rules(settings.down),
    )


def _build_knative(settings: KnativeSettings, planned_replica: PlannedReplica) -> Knative:
    metric, target = settings.get_target(planned_replica)
    return Knative(
        capacity=target / settings.utilization if settings.target is None else target,
        metric="rate" if metric == "rate" else "in_flight",
        utilization=settings.utilization,
        min=settings.min,
        max=settings.get_max_replicas(planned_replica),
        tick_s=settings.tick_s,
        stable_s=settings.window_s,
        panic_s=settings.panic_window_s,
        panic_threshold=settings.panic_threshold,
        max_up_rate=settings.max_up_rate,
        max_down_rate=settings.max_down_rate,
        grace_s=settings.grace_s,
        burst=settings.burst,
    )


def _build_predictive(settings: PredictiveSettings, planned_replica: PlannedReplica, cold_start_s: float) -> Predictive:
    return Predictive(
        rate_per_replica_per_s=planned_replica.per_s if settings.target is None else settings.target,
        lead_s=cold_start_s if settings.lead_s is None else settings.lead_s,
        max=settings.get_max_replicas(planned_replica),
        min=settings.min,
        headroom=settings.headroom,
        tick_s=settings.tick_s,
    )


def _build_rules(settings: ScaleUpSettings) -> ScalingRules:
    policies = []
    if settings.percent is not None:
        policies.append(RatePolicy("percent", 100 * settings.percent, settings.period_s))
    if settings.pods is not None:
        policies.append(RatePolicy("pods", settings.pods, settings.period_s))
    select: Literal["max", "disabled"] = "max" if policies else "disabled"
    return ScalingRules(settings.stabilization_s, tuple(policies), select)
