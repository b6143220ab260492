"""A profile: one question, as the user writes it. Defaults stand in the settings and nowhere else."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from app.profiles.load import LoadSettings
from app.profiles.local import LocalProfile
from app.profiles.options import RunOptions
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


class RunLimits(Settings):
    """None is no limit."""

    duration_s: SomeSeconds | None = Field(default=None, alias="duration")
    requests: Annotated[Count, at_most(10**12)] | None = None
    usd: Annotated[float, Field(gt=0)] | None = None


class _Questions(Settings):
    sizewise: Literal[1]
    name: Name
    description: Annotated[str, Field(max_length=200, pattern=r"^[^\r\n]*$")] | None = None
    load: LoadSettings
    slo: Listed[ObjectiveText] = ()
    limits: RunLimits = RunLimits()
    gates: Listed[GateText] = ()
    options: RunOptions = RunOptions()
    traffic: TrafficSettings | None = None
    plan: PlanSettings = PlanSettings()
    telemetry: Scrapes = ()

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
    workload: HttpRequests


class GeneratingProfile(_Questions):
    target: GeneratingTarget
    workload: PromptRequests

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
    workload: EmbeddingRequests


class RerankProfile(_Questions):
    target: RerankTarget
    workload: RerankRequests


class OipProfile(_Questions):
    target: OipTarget
    workload: OipRequests = OipRequests()


class OipGrpcProfile(_Questions):
    target: OipGrpcTarget
    workload: OipGrpcRequests = OipGrpcRequests()


class TfServingProfile(_Questions):
    target: TfServingTarget
    workload: TfServingRequests = TfServingRequests()


class TorchServeProfile(_Questions):
    target: TorchServeTarget
    workload: TorchServeRequests


class LocustProfile(_Questions):
    target: LocustTarget
    workload: LocustRequests = LocustRequests()

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
