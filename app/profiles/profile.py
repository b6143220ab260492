"""A profile: one question, as the user writes it. Defaults stand in the settings and nowhere else.

How a run is carried out, beside what it asks.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self

from pydantic import Field, PlainSerializer, PlainValidator, model_validator

from app.analysis.abort import ABORTABLE
from app.analysis.objectives import parse_objective
from app.errors import UsageError
from app.profiles import units
from app.profiles.endpoint import PLACES
from app.profiles.load import LoadSettings
from app.profiles.local import LocalProfile
from app.profiles.plan import PlanSettings
from app.profiles.problems import BadValueError
from app.profiles.prompts import EmbeddingRequests, PromptRequests, RerankRequests
from app.profiles.settings import Count, GateText, Listed, Name, ObjectiveText, Settings, SomeSeconds, at_most
from app.profiles.target import (
    EmbeddingsTarget,
    GeneratingTarget,
    HttpTarget,
    LocustTarget,
    OipGrpcTarget,
    OipTarget,
    RerankTarget,
    TfServingTarget,
    TorchServeTarget,
)
from app.profiles.telemetry import Scrapes
from app.profiles.traffic import TrafficSettings
from app.profiles.workload import (
    HttpRequests,
    LocustRequests,
    OipGrpcRequests,
    OipRequests,
    TfServingRequests,
    TorchServeRequests,
)
from app.records.abort import AbortRule

_GRAMMAR = re.compile(r"(?P<objective>.*\S)\s+after\s+(?P<after>\S+)\s*", re.DOTALL)
_FORM = 'Write it like "error_rate > 20% after 15s": the time counts from the start of each stage.'


def _read_abort(value: object) -> AbortRule:
    parts = _GRAMMAR.fullmatch(value) if isinstance(value, str) else None
    if not isinstance(value, str) or parts is None:
        raise BadValueError(f"cannot read {value!r}: it says no time after which to look", hint=_FORM)
    try:
        objective = parse_objective(parts["objective"])
    except UsageError as error:
        raise BadValueError(str(error), hint=error.hint) from error
    if objective.metric not in ABORTABLE:
        hint = f"There are {' and '.join(ABORTABLE)}."
        raise BadValueError(f"{objective.metric} is not known while a stage runs", hint=hint)
    if objective.comparator in ("<", "<=") or objective.level == "warn":
        raise BadValueError(f'"{objective.text}" is no reason to give up', hint=_FORM)
    return AbortRule(" ".join(value.split()), objective, units.parse_duration_s(parts["after"]))


class RunOptions(Settings):
    """`abort_when` is looked at while each stage runs, from its `after` on; the run ends with what it has by then."""

    abort_when: Annotated[AbortRule, PlainValidator(_read_abort), PlainSerializer(lambda rule: rule.text)] | None = (
        Field(default=None, examples=["error_rate > 20% after 15s"])
    )
    """Gives up early, like error_rate > 20% after 15s; the time counts from each stage's start."""


class RunLimits(Settings):
    """None is no limit."""

    duration_s: SomeSeconds | None = Field(default=None, alias="duration", examples=["10m"])
    """The longest the whole run may take, like 10m; it ends with what it has by then."""
    requests: Annotated[Count, at_most(10**12)] | None = Field(default=None, examples=["1e6"])
    """The most requests the run may send, like 1e6."""
    usd: Annotated[float, Field(gt=0)] | None = Field(default=None, examples=[5])
    """The most the run may cost in US dollars, by the prices of its hardware, like 5."""


class _Questions(Settings):
    sizewise: Literal[1]
    """The version of the profile's form: 1."""
    name: Name = Field(examples=["fraud-scoring"])
    """What runs of this profile are called: letters, digits, dots, dashes and underscores, like fraud-scoring."""
    description: Annotated[str, Field(max_length=200, pattern=r"^[^\r\n]*$")] | None = None
    """One line of what is asked, for lists and reports."""
    load: LoadSettings
    """How the target is loaded: stages one after another, then a sweep, then a search."""
    slo: Listed[ObjectiveText] = Field(default=(), examples=[["latency_ms.p95 < 50"]])
    """What the service promises, one objective a line, like latency_ms.p95 < 50 or error_rate < 1%."""
    limits: RunLimits = RunLimits()
    """When the run ends, whatever it has by then."""
    gates: Listed[GateText] = Field(default=(), examples=[["latency_ms.p99 < 80 | warn"]])
    """What a pipeline fails on, one a line, like latency_ms.p99 < 80 | warn or change(latency_ms.p95) < +8%."""
    options: RunOptions = RunOptions()
    """How the run is carried out."""
    traffic: TrafficSettings | None = None
    """The traffic that a fleet is planned for; without it nothing is planned."""
    plan: PlanSettings = PlanSettings()
    """What the planned fleet must satisfy beside the SLO."""
    telemetry: Scrapes = ()
    """Pages for Prometheus on other machines, read while the run goes on."""

    @model_validator(mode="after")
    def _can_search(self) -> Self:
        if self.load.search is not None and not any(objective.level == "fail" for objective in self.slo):
            what = "only warns" if self.slo else "is empty"
            raise BadValueError(
                f"load.search looks for the rate that holds the SLO, and slo {what}",
                hint='Add an objective to slo, like "latency_ms.p95 < 50".',
            )
        return self


class HttpProfile(_Questions):
    target: HttpTarget
    """What is measured: where it is and how it is spoken to."""
    workload: HttpRequests
    """What each request asks of it."""


class GeneratingProfile(_Questions):
    target: GeneratingTarget
    """What is measured: where it is and how it is spoken to."""
    workload: PromptRequests
    """What each request asks of it."""

    @model_validator(mode="after")
    def _replays_one_trace(self) -> Self:
        """Prompts of a trace that is replayed come in the order of its arrivals, so that there is one order."""
        replays = [stage for stage in self.load.stages if stage.trace is not None]
        if self.workload.trace is not None and replays:
            manners = {(stage.trace, stage.speed, stage.superpose, stage.lead_in_s) for stage in replays}
            if len(manners) > 1 or replays[0].trace != self.workload.trace:
                raise BadValueError("workload.trace is replayed by load.stages in another way, or another trace is")
        return self


class EmbeddingsProfile(_Questions):
    target: EmbeddingsTarget
    """What is measured: where it is and how it is spoken to."""
    workload: EmbeddingRequests
    """What each request asks of it."""


class RerankProfile(_Questions):
    target: RerankTarget
    """What is measured: where it is and how it is spoken to."""
    workload: RerankRequests
    """What each request asks of it."""


class OipProfile(_Questions):
    target: OipTarget
    """What is measured: where it is and how it is spoken to."""
    workload: OipRequests = OipRequests()
    """What each request asks of it."""


class OipGrpcProfile(_Questions):
    target: OipGrpcTarget
    """What is measured: where it is and how it is spoken to."""
    workload: OipGrpcRequests = OipGrpcRequests()
    """What each request asks of it."""


class TfServingProfile(_Questions):
    target: TfServingTarget
    """What is measured: where it is and how it is spoken to."""
    workload: TfServingRequests = TfServingRequests()
    """What each request asks of it."""


class TorchServeProfile(_Questions):
    target: TorchServeTarget
    """What is measured: where it is and how it is spoken to."""
    workload: TorchServeRequests
    """What each request asks of it."""


class LocustProfile(_Questions):
    target: LocustTarget
    """What is measured: where it is and how it is spoken to."""
    workload: LocustRequests = LocustRequests()
    """What each request asks of it."""

    @model_validator(mode="after")
    def _is_a_closed_loop(self) -> Self:
        hint = "A Locust test is driven by its users: write stages with concurrency and duration."
        if self.load.search is not None:
            raise BadValueError("load.search needs arrivals at a rate, which a Locust test has none of", hint=hint)
        if self.load.sweep is not None and not self.load.sweep.clients:
            raise BadValueError("load.sweep goes by rates, which a Locust test has none of", hint=hint)
        if self.load.workers not in ("auto", 1):
            raise BadValueError(
                f"load.workers is {self.load.workers}, and a Locust test of your own runs in one process",
                hint="Leave load.workers out: its users all run there.",
            )
        for stage in self.load.stages:
            if stage.concurrency is None:
                raise BadValueError(f"stage {stage.name} has no concurrency", hint=hint)
            if stage.think_s or stage.lead_in_s:
                raise BadValueError(
                    f"stage {stage.name}: think and lead_in are not for a Locust test, whose users wait"
                )
        return self


EndpointProfile = (
    HttpProfile
    | GeneratingProfile
    | EmbeddingsProfile
    | RerankProfile
    | OipProfile
    | OipGrpcProfile
    | TfServingProfile
    | TorchServeProfile
    | LocustProfile
)
Profile = EndpointProfile | LocalProfile
PROFILES: dict[str, type[Profile]] = {
    "http": HttpProfile,
    "openai-chat": GeneratingProfile,
    "openai-completions": GeneratingProfile,
    "openai-responses": GeneratingProfile,
    "openai-embeddings": EmbeddingsProfile,
    "openai-rerank": RerankProfile,
    "oip": OipProfile,
    "oip-grpc": OipGrpcProfile,
    "tf-serving": TfServingProfile,
    "torchserve": TorchServeProfile,
    "locust": LocustProfile,
    "local": LocalProfile,
}
"""By the target's protocol. A target with a model and without a protocol is local."""


def protocol_of(value: Any) -> str | None:
    """What a profile's tree says its target speaks; `local` for a model without one; None where it says nothing."""
    target = value.get("target") if isinstance(value, dict) else None
    if not isinstance(target, dict):
        return None
    protocol = target.get("protocol")
    if protocol is None and {"model", "variants"} & target.keys() and not target.keys() & PLACES:
        return "local"
    return protocol if isinstance(protocol, str) and protocol in PROFILES else None
