"""One day of a fleet as `sizewise simulate` is told it: the autoscaler, the life of a replica, patience."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, assert_never

from pydantic import Field

from app.profiles.autoscaler import (
    AUTOSCALERS,
    AutoscalerSettings,
    HpaSettings,
    KedaSettings,
    KnativeSettings,
    KserveSettings,
    NoScalingSettings,
    PredictiveSettings,
    Replicas,
    ScheduleSettings,
    UpSettings,
)
from app.profiles.loading import load_overrides
from app.profiles.operating import (
    ColdStartSettings,
    FailureSettings,
    UpdateSettings,
    cold_start_of,
    failures_of,
    updates_of,
)
from app.profiles.plan import ROUTERS
from app.profiles.settings import Seconds, Settings, SomeSeconds, at_most
from app.records.offers import Router
from app.records.scaling import (
    Autoscaler,
    Fixed,
    Hpa,
    Keda,
    Knative,
    Operations,
    PlannedReplica,
    Predictive,
    RatePolicy,
    ScalingRules,
    Scheduled,
    ScheduledReplicas,
)

_HOUR_S = 3600.0


class DaySettings(Settings):
    """`warm_pool` are empty instances kept ready; `timeout` is how long a request waits before it gives up."""

    autoscaler: AutoscalerSettings
    cold_start: ColdStartSettings = ColdStartSettings()
    failures: FailureSettings | None = None
    update: UpdateSettings | None = None
    warm_pool: Replicas = 0
    drain_s: Seconds = Field(default=30.0, alias="drain")
    timeout_s: SomeSeconds = Field(default=30.0, alias="timeout")
    queue_limit: Annotated[int, Field(ge=0), at_most(10_000)] = 10_000
    router: (
        Literal["round-robin", "random", "power-of-two", "least-outstanding", "least-work", "session-hash"] | None
    ) = None


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


_DAYS: dict[str, type[DaySettings]] = dict(
    zip(
        AUTOSCALERS,
        (_StaticDay, _HpaDay, _KedaDay, _KnativeDay, _KserveDay, _ScheduleDay, _PredictiveDay),
        strict=True,
    )
)


def load_day(autoscaler: str, overrides: Sequence[str]) -> DaySettings:
    """Raises ProfileError naming the `--set` that is wrong."""
    return load_overrides(_DAYS[autoscaler], overrides)


def router_of(settings: DaySettings) -> Router | None:
    return None if settings.router is None else ROUTERS[settings.router]


def operations_of(settings: DaySettings, replicas_per_instance: int) -> Operations:
    return Operations(
        cold_start=cold_start_of(settings.cold_start, settings.warm_pool * replicas_per_instance),
        failures=failures_of(settings.failures),
        updates=updates_of(settings.update),
        drain_s=settings.drain_s,
    )


def autoscaler_of(settings: AutoscalerSettings, planned: PlannedReplica, cold_start_s: float) -> Autoscaler:
    match settings:
        case NoScalingSettings():
            return Fixed(planned.replicas)
        case HpaSettings():
            return _hpa(settings, planned)
        case KedaSettings():
            return _keda(settings, planned)
        case KnativeSettings():
            return _knative(settings, planned)
        case ScheduleSettings():
            table = settings.table or {hour * _HOUR_S: count for hour, count in enumerate(planned.by_hour)}
            return Scheduled(tuple(ScheduledReplicas(at_s, table[at_s]) for at_s in sorted(table)))
        case PredictiveSettings():
            return _predictive(settings, planned, cold_start_s)
        case _:
            assert_never(settings)


def _hpa(settings: HpaSettings, planned: PlannedReplica) -> Hpa:
    metric, target = settings.aim(planned)
    return Hpa(
        target=target,
        max=settings.most(planned),
        metric=metric,
        min=settings.min,
        tolerance=settings.tolerance,
        sync_s=settings.sync_s,
        window_s=settings.window_s,
        up=_rules(settings.up),
        down=_rules(settings.down),
    )


def _keda(settings: KedaSettings, planned: PlannedReplica) -> Keda:
    metric, target = settings.aim(planned)
    return Keda(
        target=target,
        max=settings.most(planned),
        metric="rate" if metric == "rate" else "in_flight",
        min=settings.min,
        activation=settings.activation,
        holds=settings.holds,
        polling_s=settings.polling_s,
        cool_down_s=settings.cool_down_s,
        tolerance=settings.tolerance,
        sync_s=settings.sync_s,
        window_s=settings.window_s,
        up=_rules(settings.up),
        down=_rules(settings.down),
    )


def _knative(settings: KnativeSettings, planned: PlannedReplica) -> Knative:
    metric, aimed = settings.aim(planned)
    return Knative(
        capacity=aimed / settings.utilisation if settings.target is None else aimed,
        metric="rate" if metric == "rate" else "in_flight",
        utilisation=settings.utilisation,
        min=settings.min,
        max=settings.most(planned),
        tick_s=settings.tick_s,
        stable_s=settings.window_s,
        panic_s=settings.panic_window_s,
        panic_threshold=settings.panic_threshold,
        max_up_rate=settings.max_up_rate,
        max_down_rate=settings.max_down_rate,
        grace_s=settings.grace_s,
        burst=settings.burst,
    )


def _predictive(settings: PredictiveSettings, planned: PlannedReplica, cold_start_s: float) -> Predictive:
    return Predictive(
        per_replica_per_s=planned.per_s if settings.target is None else settings.target,
        lead_s=cold_start_s if settings.lead_s is None else settings.lead_s,
        max=max(settings.min, planned.replicas) if settings.max is None else settings.max,
        min=settings.min,
        headroom=settings.headroom,
        tick_s=settings.tick_s,
    )


def _rules(settings: UpSettings) -> ScalingRules:
    policies = []
    if settings.percent is not None:
        policies.append(RatePolicy("percent", 100 * settings.percent, settings.period_s))
    if settings.pods is not None:
        policies.append(RatePolicy("pods", settings.pods, settings.period_s))
    select: Literal["max", "disabled"] = "max" if policies else "disabled"
    return ScalingRules(settings.stabilisation_s, tuple(policies), select)
