"""Profiles: the user's description of what a run measures.

All defaults are declared in the settings classes.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, Self

from pydantic import Field, model_validator

from app.extras import Extra
from app.profiles import workload_records as records
from app.profiles.endpoint import ADDRESS_KEYS
from app.profiles.endpoint_profile import EndpointProfile
from app.profiles.load import BatchLoadSettings
from app.profiles.local import LocalProfile
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
from app.profiles.workload import (
    GrpcRequests,
    HttpRequests,
    LocustRequests,
    OipGrpcRequests,
    OipRequests,
    TfServingRequests,
    TorchServeRequests,
)
from app.records.protocols import PROTOCOLS, list_content_protocols
from loadgen.workloads import BatchWorkload, LocustWorkload, Workload


class HttpProfile(EndpointProfile):
    target: HttpTarget
    """Target to measure: its address, protocol and connection."""
    workload: HttpRequests = HttpRequests(method="GET")
    """Content of the requests. Without it, each request is a GET of the URL."""

    def build_workload(self) -> Workload:
        return records.build_http_requests(self)


class GeneratingProfile(EndpointProfile):
    target: GeneratingTarget
    """Target to measure: its address, protocol and connection."""
    workload: PromptRequests = Field(examples=[{"prompts": {"input_tokens": 512, "output_tokens": 128}}])
    """Content of the requests."""

    def build_workload(self) -> Workload:
        return records.build_generating_workload(self)

    @model_validator(mode="after")
    def _check_max_tokens(self) -> Self:
        """Check that each request has a maximum number of output tokens, if the protocol requires it.
        Raises BadValueError otherwise."""
        is_required = self.protocol.requires_output_tokens
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
        protocol = self.protocol
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
        protocol = self.protocol
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


class EmbeddingsProfile(EndpointProfile):
    target: EmbeddingsTarget
    """Target to measure: its address, protocol and connection."""
    workload: EmbeddingRequests = Field(examples=[{"prompts": {"input_tokens": 512}}])
    """Content of the requests."""

    def build_workload(self) -> Workload:
        return records.build_openai_workload(self)


class RerankProfile(EndpointProfile):
    target: RerankTarget
    """Target to measure: its address, protocol and connection."""
    workload: RerankRequests = Field(examples=[{"prompts": {"input_tokens": 512}}])
    """Content of the requests."""

    def build_workload(self) -> Workload:
        return records.build_openai_workload(self, documents=self.workload.documents)


class SpeechProfile(EndpointProfile):
    target: SpeechTarget
    """Target to measure: its address, protocol and connection."""
    workload: SpeechRequests = Field(examples=[{"prompts": {"input_tokens": 40}, "voice": "alloy"}])
    """Content of the requests."""

    def build_workload(self) -> Workload:
        return records.build_openai_workload(
            self,
            {"voice": self.workload.voice, "response_format": self.workload.format},
            stream=self.workload.stream,
            sample_rate_hz=self.workload.sample_rate,
        )


class TranscriptionProfile(EndpointProfile):
    target: TranscriptionTarget
    """Target to measure: its address, protocol and connection."""
    workload: TranscriptionRequests = Field(examples=[{"audio": {"seconds": 10}}])
    """Content of the requests."""

    def build_workload(self) -> Workload:
        return records.build_transcription_workload(self)


class ImageProfile(EndpointProfile):
    target: ImageTarget
    """Target to measure: its address, protocol and connection."""
    workload: ImageRequests = Field(examples=[{"prompts": {"input_tokens": 30}, "size": "512x512"}])
    """Content of the requests."""

    def build_workload(self) -> Workload:
        return records.build_openai_workload(self, {"n": self.workload.images, "size": self.workload.size})


class RealtimeProfile(EndpointProfile):
    target: RealtimeTarget
    """Target to measure: its address, protocol and connection."""
    workload: RealtimeRequests = Field(examples=[{"audio": {"seconds": 3}, "voice": "alloy"}])
    """Content of the dialogs."""

    def build_workload(self) -> Workload:
        return records.build_realtime_workload(self)


class OipProfile(EndpointProfile):
    target: OipTarget
    """Target to measure: its address, protocol and connection."""
    workload: OipRequests = OipRequests()
    """Content of the requests."""

    def build_workload(self) -> Workload:
        return records.build_oip_workload(self, "http", binary=self.workload.binary)


class OipGrpcProfile(EndpointProfile):
    target: OipGrpcTarget
    """Target to measure: its address, protocol and connection."""
    workload: OipGrpcRequests = OipGrpcRequests()
    """Content of the requests."""

    def build_workload(self) -> Workload:
        return records.build_oip_workload(self, "grpc-stream" if self.workload.stream else "grpc")


class TfServingProfile(EndpointProfile):
    target: TfServingTarget
    """Target to measure: its address, protocol and connection."""
    workload: TfServingRequests = TfServingRequests()
    """Content of the requests."""

    def build_workload(self) -> Workload:
        return records.build_tf_serving_workload(self)


class TorchServeProfile(EndpointProfile):
    target: TorchServeTarget
    """Target to measure: its address, protocol and connection."""
    workload: TorchServeRequests = Field(examples=[{"body": {"features": [0.1, 0.2]}}])
    """Content of the requests."""

    def build_workload(self) -> Workload:
        return records.build_torchserve_workload(self)


class GrpcProfile(EndpointProfile):
    target: GrpcTarget
    """Target to measure: its address, protocol and connection."""
    workload: GrpcRequests = Field(examples=[{"method": "grpc.health.v1.Health/Check"}])
    """Content of the requests."""

    def build_workload(self) -> Workload:
        return records.build_grpc_workload(self)


class BatchProfile(EndpointProfile):
    target: BatchTarget
    """Target to measure: its address, protocol and connection."""
    workload: BatchRequests = Field(examples=[{"prompts": {"input_tokens": 512, "output_tokens": 128}}])
    """Content of the requests."""
    load: BatchLoadSettings = Field(default=BatchLoadSettings(), examples=[{"batch": {"requests": 1000}}])
    """Job of the Batch API."""

    def build_workload(self) -> Workload:
        return BatchWorkload(records.build_openai_workload(self), self.load.batch.poll_s)


class LocustProfile(EndpointProfile):
    target: LocustTarget
    """Target to measure: its address, protocol and connection."""
    workload: LocustRequests = LocustRequests()
    """Content of the requests."""

    def build_workload(self) -> Workload:
        return LocustWorkload(str(self.target.file), self.workload.user_classes, self.workload.spawn_per_s)

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


Profile = EndpointProfile | LocalProfile
PROFILES: dict[str, type[Profile]] = {
    protocol.id: getattr(import_module(f"app.profiles.{protocol.profile_module}"), protocol.profile)
    for protocol in PROTOCOLS
}
"""Profile class for each protocol of a target. A target with a model but without a protocol has the
protocol `local`."""


def list_required_extras(profile: Profile) -> tuple[Extra, ...]:
    """Return the extras with the packages that a run of the profile needs: to execute its model, and
    to plan a fleet for its traffic."""
    if isinstance(profile, LocalProfile):
        return ("llm" if profile.generation_tests else "local",)
    plan_extras: tuple[Extra, ...] = () if profile.traffic is None else ("plan",)
    serve = find_serve_settings(profile)
    if serve is None:
        return plan_extras
    return ("llm" if isinstance(serve, ServeLanguageModelSettings) else "local", *plan_extras)


def find_serve_settings(profile: EndpointProfile) -> ServeSettings | ServeLanguageModelSettings | None:
    """Return the settings of the model that the run itself serves; `None` if the run does not serve
    a model."""
    return getattr(profile.target, "serve", None)


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
