"""What the profiles of all endpoints have in common: load, SLO, gates, limits and options of a run, and the traffic
for which a fleet is planned."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Self

from pydantic import Field, PlainSerializer, PlainValidator, model_validator

from app.analysis.abort import ABORTABLE_METRICS
from app.analysis.objectives import parse_objective
from app.errors import UsageError
from app.profiles import units
from app.profiles.classes import ClassKeys, build_slo
from app.profiles.load import LoadSettings
from app.profiles.local import CommonProfile
from app.profiles.plan import PlanKeys
from app.profiles.problems import BadValueError
from app.profiles.settings import Count, GateText, Listed, ObjectiveText, PositiveSeconds, Settings, upper_bound
from app.profiles.traffic import PREFIX_OF_MEASUREMENT, PREFIX_OF_MEASUREMENT_HINT, TrafficSettings
from app.records.abort import AbortRule
from app.records.offers import PlanLimits
from app.records.protocols import TargetProtocol, get_protocol
from app.records.result import Objective

if TYPE_CHECKING:
    from app.profiles.endpoint import TargetSettings
    from loadgen.workloads import Workload

_ABORT_RULE = re.compile(r"(?P<objective>.*\S)\s+after\s+(?P<after>\S+)\s*", re.DOTALL)
_ABORT_HINT = 'Use a value such as "error_rate > 20% after 15s"; the time counts from the start of each stage.'


def _parse_abort_rule(value: object) -> AbortRule:
    match = _ABORT_RULE.fullmatch(value) if isinstance(value, str) else None
    if not isinstance(value, str) or match is None:
        raise BadValueError(f'{value!r} has no "after" time', hint=_ABORT_HINT)
    try:
        objective = parse_objective(match["objective"])
    except UsageError as error:
        raise BadValueError(str(error), hint=error.hint) from error
    if objective.metric not in ABORTABLE_METRICS:
        hint = f"Use {' or '.join(ABORTABLE_METRICS)}."
        raise BadValueError(f"{objective.metric} is not available while a stage runs", hint=hint)
    if objective.request_class is not None:
        raise BadValueError("abort_when applies to all requests together, and cannot name a class", hint=_ABORT_HINT)
    if objective.comparator in ("<", "<=") or objective.level == "warn":
        raise BadValueError(f'"{objective.text}" cannot be used to abort a run', hint=_ABORT_HINT)
    return AbortRule(" ".join(value.split()), objective, units.parse_duration_s(match["after"]))


class RunOptions(Settings):
    """Options of a run.

    `abort_when` is evaluated while a stage runs, once the `after` time of the rule has passed. If
    the rule is met, the run ends with the results so far.
    """

    abort_when: (
        Annotated[AbortRule, PlainValidator(_parse_abort_rule), PlainSerializer(lambda rule: rule.text)] | None
    ) = Field(default=None, examples=["error_rate > 20% after 15s"])
    """Rule that aborts the run, such as error_rate > 20% after 15s. The time is measured from the
    start of each stage."""


class RunLimits(Settings):
    """Limits of a run; `None` means no limit."""

    duration_s: PositiveSeconds | None = Field(default=None, alias="duration", examples=["10m"])
    """Maximum duration of the whole run, such as 10m. At this limit, the run ends with the results
    so far."""
    requests: Annotated[Count, upper_bound(10**12)] | None = Field(default=None, examples=["1e6"])
    """Maximum number of requests that the run may send, such as 1e6."""
    usd: Annotated[float, Field(gt=0)] | None = Field(default=None, examples=[5])
    """Maximum cost of the run in USD, based on the price of the target's hardware, such as 5."""


class EndpointProfile(CommonProfile):
    """Keys that the profiles of all endpoints have in common. Each protocol has the class that its row in
    `app.records.protocols` names."""

    if TYPE_CHECKING:
        target: TargetSettings
        workload: Settings
        # declared by each class, after the keys of this class

    load: LoadSettings = Field(examples=[{"stages": [{"rate": "50/s", "duration": "30s"}]}])
    """Load on the target: first the stages in order, then a sweep, then a search."""
    slo: Listed[ObjectiveText] = Field(default=(), examples=[["latency_ms.p95 < 50"]])
    """Service level objectives, one per line, such as latency_ms.p95 < 50 or error_rate < 1%."""
    limits: RunLimits = RunLimits()
    """Limits on the duration, the requests and the cost of the run. At a limit, the run ends with
    the results so far."""
    gates: Listed[GateText] = Field(default=(), examples=[["latency_ms.p99 < 80 | warn"]])
    """Conditions that fail a CI job, one per line, such as latency_ms.p99 < 80 | warn or
    change(latency_ms.p95) < +8%."""
    options: RunOptions = RunOptions()
    """Options of the run, for example a rule for aborting the run."""
    traffic: TrafficSettings | None = None
    """Traffic for which a fleet is planned. Without traffic, no fleet is planned."""
    plan: PlanKeys = PlanLimits()
    """Requirements of the planned fleet in addition to the SLO."""

    @property
    def complete_slo(self) -> tuple[Objective, ...]:
        """SLO of the profile, followed by the objectives of the classes of requests."""
        return build_slo(self.slo, self.classes) if self.classes else self.slo

    @property
    def classes(self) -> tuple[ClassKeys, ...]:
        """Classes of requests; empty if the workload has none."""
        return getattr(getattr(self, "workload", None), "classes", ())

    @property
    def protocol(self) -> TargetProtocol:
        """Row of the target's protocol."""
        return get_protocol(self.target.protocol)

    def build_workload(self) -> Workload:
        """Return the workload that load workers send. Raises UsageError for an invalid file."""
        raise NotImplementedError

    @model_validator(mode="after")
    def _check_traffic(self) -> Self:
        if self.traffic is not None and self.traffic.prefix_cached_share:
            raise BadValueError(PREFIX_OF_MEASUREMENT, hint=PREFIX_OF_MEASUREMENT_HINT)
        return self

    @model_validator(mode="after")
    def _check_search(self) -> Self:
        if self.load.search is not None and not any(objective.level == "fail" for objective in self.complete_slo):
            problem = "has only warnings" if self.complete_slo else "is empty"
            raise BadValueError(
                f"load.search needs an SLO for the max rate, but slo {problem}",
                hint='Add an objective to slo, such as "latency_ms.p95 < 50".',
            )
        return self
