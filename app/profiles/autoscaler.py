"""An autoscaler as `sizewise simulate --set autoscaler.…` says it.

What is not said is that of the program it is named after, except its target and its bounds: those are the plan's,
since no program's default knows the model.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Self

from pydantic import BeforeValidator, Field, model_validator

from app.profiles import units
from app.profiles.problems import BadValueError
from app.profiles.settings import Count, Rate, Seconds, Settings, Share, SomeSeconds, at_most
from app.profiles.traffic_parts import ClockTime
from app.records.scaling import Metric, PlannedReplica

AUTOSCALERS = ("none", "hpa", "keda", "knative", "kserve", "schedule", "predictive")
_MOST_REPLICAS = 100_000
_EXAMPLES = {"busy": "70% of the time", "in-flight": "metric=in-flight and 4 requests", "rate": "12/s"}
_METRICS: dict[str, Metric] = {"busy": "busy", "in-flight": "in_flight", "rate": "rate"}

Replicas = Annotated[int, Field(ge=0), at_most(_MOST_REPLICAS)]
SomeReplicas = Annotated[Count, at_most(_MOST_REPLICAS)]
Multiple = Annotated[float, BeforeValidator(units.parse_multiple)]


def _read_target(value: object) -> tuple[Metric, float]:
    """What it is of is told by its unit."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        found: tuple[Metric, float] = ("in_flight", float(value))
    elif isinstance(value, str) and value.rstrip().endswith("%"):
        found = ("busy", units.parse_share(value))
    elif isinstance(value, str) and "/" in value:
        found = ("rate", units.parse_rate_per_s(value))
    else:
        hint = "Write 70% of the time busy, 4 for requests in flight, or 12/s."
        raise BadValueError(f"{value!r} is not a target", hint=hint)
    if found[1] <= 0:
        raise BadValueError(f"{value!r} is not above zero")
    return found


Target = Annotated[tuple[Metric, float], BeforeValidator(_read_target)]


class UpSettings(Settings):
    """Within each `period` at most so many replicas, or so large a share, whichever is more; None is no such rule."""

    stabilisation_s: Seconds = Field(default=0.0, alias="stabilisation")
    pods: SomeReplicas | None = 4
    percent: Multiple | None = 1.0
    period_s: SomeSeconds = Field(default=15.0, alias="period")


class DownSettings(UpSettings):
    stabilisation_s: Seconds = Field(default=300.0, alias="stabilisation")
    pods: SomeReplicas | None = None


class _Scaling(Settings):
    """`target` is per replica, and tells by its unit what the metric is."""

    own_metric: ClassVar[Metric]
    metrics: ClassVar[tuple[str, ...]]

    metric: str | None = None
    target: Target | None = None
    min: Replicas
    max: SomeReplicas | None = None

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        """A bare number may be a forgotten unit where the metric is not requests by default."""
        if self.metric is not None and self.metric not in self.metrics:
            raise BadValueError(f"metric is {self.metric!r}", hint=f"There are {', '.join(self.metrics)}.")
        known = [_METRICS[name] for name in ([self.metric] if self.metric else self.metrics)]
        if self.target is not None:
            has_no_unit = self.metric is None and self.own_metric == "busy" and self.target[0] == "in_flight"
            if has_no_unit or self.target[0] not in known:
                ways = ", or ".join(_EXAMPLES[name] for name in self.metrics)
                raise BadValueError(f"target is not of {self.metric or self.own_metric}", hint=f"Write {ways}.")
        if self.max is not None and self.max < self.min:
            raise BadValueError(f"max is {self.max}, less than min of {self.min}")
        return self

    def aim(self, planned: PlannedReplica) -> tuple[Metric, float]:
        """The metric and its target; the plan's where none is given."""
        if self.target is not None:
            return self.target
        metric = self.own_metric if self.metric is None else _METRICS[self.metric]
        return metric, {"busy": planned.busy, "in_flight": planned.in_flight, "rate": planned.per_s}[metric]

    def most(self, planned: PlannedReplica) -> int:
        return max(self.min, planned.replicas) if self.max is None else self.max


class _HpaLike(_Scaling):
    tolerance: Share = 0.1
    sync_s: SomeSeconds = Field(default=15.0, alias="sync")
    window_s: SomeSeconds = Field(default=15.0, alias="window")
    up: UpSettings = UpSettings()
    down: DownSettings = DownSettings()


class HpaSettings(_HpaLike):
    own_metric = "busy"
    metrics = ("busy", "in-flight", "rate")

    min: SomeReplicas = 1


class KedaSettings(_HpaLike):
    """With `holds` a queue keeps what comes while nothing is ready; without, it is refused."""

    own_metric = "in_flight"
    metrics = ("in-flight", "rate")

    min: Replicas = 0
    activation: Annotated[float, Field(ge=0)] = 0.0
    holds: bool = True
    polling_s: SomeSeconds = Field(default=30.0, alias="polling")
    cool_down_s: Seconds = Field(default=300.0, alias="cool_down")


class KnativeSettings(_Scaling):
    """`target` is Knative's own, of which `utilisation` is aimed at."""

    own_metric = "in_flight"
    metrics = ("in-flight", "rate")

    min: Replicas = 0
    utilisation: Annotated[Share, Field(gt=0)] = 0.7
    tick_s: SomeSeconds = Field(default=2.0, alias="tick")
    window_s: SomeSeconds = Field(default=60.0, alias="window")
    panic_window_s: SomeSeconds = Field(default=6.0, alias="panic_window")
    panic_threshold: Annotated[float, Field(gt=1, le=10)] = 2.0
    max_up_rate: Annotated[float, Field(gt=1, le=1e6)] = 1000.0
    max_down_rate: Annotated[float, Field(gt=1, le=1e6)] = 2.0
    grace_s: Seconds = Field(default=30.0, alias="grace")
    burst: Annotated[float, Field(ge=-1)] = 211.0


class KserveSettings(KnativeSettings):
    """KServe's serverless mode is Knative's autoscaler with one replica kept."""

    min: Replicas = 1


class ScheduleSettings(Settings):
    """`table` is like {08:00: 12, 20:00: 4}; without one it is the plan's, hour by hour."""

    table: Annotated[dict[ClockTime, Replicas], Field(min_length=1)] | None = None


class PredictiveSettings(Settings):
    """Knows the day's rates `lead` ahead; without a lead, as far as a cold start takes."""

    target: Rate | None = None
    lead_s: Seconds | None = Field(default=None, alias="lead")
    min: Replicas = 1
    max: SomeReplicas | None = None
    headroom: Share = 0.0
    tick_s: SomeSeconds = Field(default=15.0, alias="tick")


class NoScalingSettings(Settings):
    @model_validator(mode="before")
    @classmethod
    def _has_none(cls, value: Any) -> Any:
        if value:
            raise BadValueError("there is none to set", hint=f"Choose --autoscaler: {', '.join(AUTOSCALERS[1:])}.")
        return value


AutoscalerSettings = (
    NoScalingSettings | HpaSettings | KedaSettings | KnativeSettings | ScheduleSettings | PredictiveSettings
)
