"""Profiles: the user's description of what a run measures.

All defaults are declared in the settings classes. This module also declares the abort rule and the
limits of a run.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Self

from pydantic import Field, PlainSerializer, PlainValidator, model_validator

from app.analysis.abort import ABORTABLE_METRICS
from app.analysis.objectives import parse_objective
from app.errors import UsageError
from app.extras import Extra
from app.profiles import units
from app.profiles.classes import ClassKeys, build_slo
from app.profiles.endpoint import ADDRESS_KEYS
from app.profiles.load import BatchLoadSettings, LoadSettings
from app.profiles.local import CommonProfile, LocalProfile
from app.profiles.plan import PlanKeys
from app.profiles.problems import BadValueError
from app.profiles.prompts import (
    BatchRequests,
    EmbeddingRequests,
    ImageRequests,
    PromptRequests,
    RealtimeRequests,
    RerankRequests,
    SpeechRequests,
    TranscriptionRequests,
)
from app.profiles.serve import ServeLanguageModelSettings, ServeSettings
from app.profiles.settings import Count, GateText, Listed, ObjectiveText, PositiveSeconds, Settings, upper_bound
from app.profiles.target import (
    BatchTarget,
    EmbeddingsTarget,
    GeneratingTarget,
    GrpcTarget,
    HttpTarget,
    ImageTarget,
    LocustTarget,
    OipGrpcTarget,
    OipTarget,
    RealtimeTarget,
    RerankTarget,
    SpeechTarget,
    TfServingTarget,
    TorchServeTarget,
    TranscriptionTarget,
)
from app.profiles.traffic import TrafficSettings
from app.profiles.workload import (
    GrpcRequests,
    HttpRequests,
    LocustRequests,
    OipGrpcRequests,
    OipRequests,
    TfServingRequests,
    TorchServeRequests,
)
from app.records.abort import AbortRule
from app.records.offers import PlanLimits
from app.records.protocols import PROTOCOLS, get_protocol, list_content_protocols
from app.records.result import Objective

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


class _BaseProfile(CommonProfile):
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
        return build_slo(self.slo, self.classes)

    @property
    def classes(self) -> tuple[ClassKeys, ...]:
        """Classes of requests; empty if the workload has none."""
        return getattr(getattr(self, "workload", None), "classes", ())

    @model_validator(mode="after")
    def _check_search(self) -> Self:
        if self.load.search is not None and not any(objective.level == "fail" for objective in self.complete_slo):
            problem = "has only warnings" if self.complete_slo else "is empty"
            raise BadValueError(
                f"load.search needs an SLO for the max rate, but slo {problem}",
                hint='Add an objective to slo, such as "latency_ms.p95 < 50".',
            )
        return self


class HttpProfile(_BaseProfile):
    target: HttpTarget
    """Target to measure: its address, protocol and connection."""
    workload: HttpRequests = HttpRequests(method="GET")
    """Content of the requests. Without it, each request is a GET of the URL."""


class GeneratingProfile(_BaseProfile):
    target: GeneratingTarget
    """Target to measure: its address, protocol and connection."""
    workload: PromptRequests = Field(examples=[{"prompts": {"input_tokens": 512, "output_tokens": 128}}])
    """Content of the requests."""

    @model_validator(mode="after")
    def _check_max_tokens(self) -> Self:
        """Check that each request has a maximum number of output tokens, if the protocol requires it.
        Raises BadValueError otherwise."""
        is_required = get_protocol(self.target.protocol).requires_output_tokens
        class_requests = [requests for _, requests in self.workload.list_class_requests()]
        for requests in class_requests or [self.workload]:
            prompts, dataset = requests.prompts, requests.dataset
            lacks_lengths = prompts is not None and not prompts.has_output_lengths
            lacks_lengths |= dataset is not None and dataset.output_tokens is None
            if is_required and lacks_lengths and requests.extra_body.get("max_tokens") is None:
                key = "dataset" if prompts is None else "prompts"
                raise BadValueError(
                    f"{self.target.protocol} needs a maximum number of output tokens in each request",
                    hint=f"Set workload.{key}.output_tokens, or max_tokens in workload.extra_body.",
                )
        return self

    @model_validator(mode="after")
    def _check_content(self) -> Self:
        """Check that the protocol can send the content of the prompts. Raises BadValueError
        otherwise."""
        protocol = get_protocol(self.target.protocol)
        class_requests = [requests for _, requests in self.workload.list_class_requests()]
        for index, requests in enumerate(class_requests or [self.workload]):
            path: tuple[str | int, ...] = ("workload", "classes", index) if class_requests else ("workload",)
            prefix = ".".join(map(str, path))
            for source, settings in (("prompts", requests.prompts), ("dataset", requests.dataset)):
                for key, protocols in list_content_protocols().items():
                    if getattr(settings, key, None) is None:
                        continue
                    body_key = protocol.prompt_content.get(key)
                    if body_key is None:
                        raise BadValueError(
                            f"{protocol.id} sends no {key}",
                            hint=f"Remove {key}, or use {' or '.join(protocols)}.",
                            key_path=(*path, source, key),
                        )
                    if body_key in requests.extra_body:
                        raise BadValueError(
                            f"{prefix}.extra_body.{body_key} conflicts with {prefix}.{source}.{key}",
                            hint=f"Remove one of them. {key} becomes {body_key} in the requests.",
                            key_path=(*path, "extra_body", body_key),
                        )
        return self

    @model_validator(mode="after")
    def _check_live_history(self) -> Self:
        """Check that the protocol can send the server's own responses back. Raises BadValueError
        otherwise."""
        protocol = get_protocol(self.target.protocol)
        if self.workload.has_live_history and not protocol.has_live_sessions:
            raise BadValueError(
                f"{protocol.id} sends no live sessions: the server's responses are not sent back",
                hint="Use prompts.history: prepared, or openai-chat if the server has it.",
            )
        return self

    @model_validator(mode="after")
    def _check_trace_order(self) -> Self:
        """Check that all stages replay the trace of the workload in the same way. Raises
        BadValueError otherwise.

        The prompts of a replayed trace are sent in the order of the trace's arrivals, so the order
        must be the same in all stages.
        """
        replay_stages = [stage for stage in self.load.stages if stage.trace is not None]
        if self.workload.trace is not None and replay_stages:
            replay_settings = {(stage.trace, stage.speed, stage.superpose, stage.lead_in_s) for stage in replay_stages}
            if len(replay_settings) > 1 or replay_stages[0].trace != self.workload.trace:
                raise BadValueError(
                    "all stages with a trace must replay workload.trace in the same way",
                    hint="Use the same trace, speed, superpose and lead_in.",
                )
        return self


class EmbeddingsProfile(_BaseProfile):
    target: EmbeddingsTarget
    """Target to measure: its address, protocol and connection."""
    workload: EmbeddingRequests = Field(examples=[{"prompts": {"input_tokens": 512}}])
    """Content of the requests."""


class RerankProfile(_BaseProfile):
    target: RerankTarget
    """Target to measure: its address, protocol and connection."""
    workload: RerankRequests = Field(examples=[{"prompts": {"input_tokens": 512}}])
    """Content of the requests."""


class SpeechProfile(_BaseProfile):
    target: SpeechTarget
    """Target to measure: its address, protocol and connection."""
    workload: SpeechRequests = Field(examples=[{"prompts": {"input_tokens": 40}, "voice": "alloy"}])
    """Content of the requests."""


class TranscriptionProfile(_BaseProfile):
    target: TranscriptionTarget
    """Target to measure: its address, protocol and connection."""
    workload: TranscriptionRequests = Field(examples=[{"audio": {"seconds": 10}}])
    """Content of the requests."""


class ImageProfile(_BaseProfile):
    target: ImageTarget
    """Target to measure: its address, protocol and connection."""
    workload: ImageRequests = Field(examples=[{"prompts": {"input_tokens": 30}, "size": "512x512"}])
    """Content of the requests."""


class RealtimeProfile(_BaseProfile):
    target: RealtimeTarget
    """Target to measure: its address, protocol and connection."""
    workload: RealtimeRequests = Field(examples=[{"audio": {"seconds": 3}, "voice": "alloy"}])
    """Content of the dialogs."""


class OipProfile(_BaseProfile):
    target: OipTarget
    """Target to measure: its address, protocol and connection."""
    workload: OipRequests = OipRequests()
    """Content of the requests."""


class OipGrpcProfile(_BaseProfile):
    target: OipGrpcTarget
    """Target to measure: its address, protocol and connection."""
    workload: OipGrpcRequests = OipGrpcRequests()
    """Content of the requests."""


class TfServingProfile(_BaseProfile):
    target: TfServingTarget
    """Target to measure: its address, protocol and connection."""
    workload: TfServingRequests = TfServingRequests()
    """Content of the requests."""


class TorchServeProfile(_BaseProfile):
    target: TorchServeTarget
    """Target to measure: its address, protocol and connection."""
    workload: TorchServeRequests = Field(examples=[{"body": {"features": [0.1, 0.2]}}])
    """Content of the requests."""


class GrpcProfile(_BaseProfile):
    target: GrpcTarget
    """Target to measure: its address, protocol and connection."""
    workload: GrpcRequests = Field(examples=[{"method": "grpc.health.v1.Health/Check"}])
    """Content of the requests."""


class BatchProfile(_BaseProfile):
    target: BatchTarget
    """Target to measure: its address, protocol and connection."""
    workload: BatchRequests = Field(examples=[{"prompts": {"input_tokens": 512, "output_tokens": 128}}])
    """Content of the requests."""
    load: BatchLoadSettings = Field(default=BatchLoadSettings(), examples=[{"batch": {"requests": 1000}}])
    """Job of the Batch API."""


class LocustProfile(_BaseProfile):
    target: LocustTarget
    """Target to measure: its address, protocol and connection."""
    workload: LocustRequests = LocustRequests()
    """Content of the requests."""

    @model_validator(mode="after")
    def _check_closed_loop(self) -> Self:
        hint = "A Locust test is driven by its users. Write stages with concurrency and duration."
        if self.load.search is not None:
            raise BadValueError("load.search needs arrivals at a rate, which a Locust test does not have", hint=hint)
        if self.load.sweep is not None and not self.load.sweep.swept_concurrency:
            raise BadValueError(
                "load.sweep has rates, but a Locust test is controlled by its number of users", hint=hint
            )
        if self.load.workers not in ("auto", 1):
            raise BadValueError(
                f"load.workers is {self.load.workers}, but your own Locust test runs in a single process",
                hint="Remove load.workers: all users run in that process.",
            )
        for stage in self.load.stages:
            if stage.concurrency is None:
                raise BadValueError(f"stage {stage.name} has no concurrency", hint=hint)
            if stage.think_s or stage.lead_in_s:
                raise BadValueError(
                    f"stage {stage.name}: think_time and lead_in cannot be used with a Locust test, "
                    "because its users define their own wait times"
                )
        return self


EndpointProfile = (
    HttpProfile
    | GeneratingProfile
    | EmbeddingsProfile
    | RerankProfile
    | SpeechProfile
    | TranscriptionProfile
    | ImageProfile
    | RealtimeProfile
    | OipProfile
    | OipGrpcProfile
    | TfServingProfile
    | TorchServeProfile
    | LocustProfile
    | GrpcProfile
    | BatchProfile
)
Profile = EndpointProfile | LocalProfile
PROFILES: dict[str, type[Profile]] = {protocol.id: globals()[protocol.profile] for protocol in PROTOCOLS}
"""Profile class for each protocol of a target. A target with a model but without a protocol has the
protocol `local`."""


def find_required_extra(profile: Profile) -> Extra | None:
    """Return the extra with the packages that execute the model of a profile; `None` if the run
    itself does not execute a model."""
    if isinstance(profile, LocalProfile):
        return "llm" if profile.generation_tests else "local"
    serve = find_serve_settings(profile)
    if serve is None:
        return None
    return "llm" if isinstance(serve, ServeLanguageModelSettings) else "local"


def find_serve_settings(profile: EndpointProfile) -> ServeSettings | ServeLanguageModelSettings | None:
    """Return the settings of the model that the run itself serves; `None` if the run does not serve
    a model."""
    return profile.target.serve if isinstance(profile, OipProfile | GeneratingProfile) else None


def find_protocol(value: Any) -> str | None:
    """Return the protocol of a profile's target; `None` if the protocol is missing or unknown.

    The protocol of a target with a model but without a protocol is `local`.
    """
    target = value.get("target") if isinstance(value, dict) else None
    if not isinstance(target, dict):
        return None
    protocol = target.get("protocol")
    if protocol is None and {"model", "variants"} & target.keys() and not target.keys() & ADDRESS_KEYS:
        return "local"
    return protocol if isinstance(protocol, str) and protocol in PROFILES else None
