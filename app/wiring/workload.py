"""Convert the workload of a profile to the workload that load workers send."""

from __future__ import annotations

import json
import secrets
import zipfile
import zlib
from typing import Any, Literal, assert_never

import numpy as np
from pydantic import JsonValue

from app.analysis.local.accuracy import compute_chance_accuracy
from app.errors import UsageError
from app.profiles.datasets import build_dataset, is_redacted
from app.profiles.profile import (
    BatchProfile,
    EmbeddingsProfile,
    EndpointProfile,
    GeneratingProfile,
    GrpcProfile,
    HttpProfile,
    LocustProfile,
    OipGrpcProfile,
    OipProfile,
    RerankProfile,
    TfServingProfile,
    TorchServeProfile,
)
from app.profiles.prompts import (
    PromptDatasetSettings,
    PromptSettings,
    SinglePromptDatasetSettings,
    SinglePromptSettings,
    TextDatasetSettings,
    TextSettings,
)
from app.profiles.workload import encode_body
from app.wiring.stages import build_trace_prompts
from loadgen.workloads import (
    BatchWorkload,
    CacheBust,
    Dataset,
    DatasetPrompts,
    GrpcWorkload,
    HttpWorkload,
    LiveHistory,
    LocustWorkload,
    OipWorkload,
    OpenAiWorkload,
    Prompts,
    SessionPrompts,
    SyntheticPrompts,
    TfServingWorkload,
    TorchServeWorkload,
    Workload,
)

_Api = Literal["chat", "completions", "responses", "embeddings", "rerank", "messages"]
_APIS: dict[str, _Api] = {
    "openai-chat": "chat",
    "openai-completions": "completions",
    "openai-responses": "responses",
    "openai-embeddings": "embeddings",
    "openai-rerank": "rerank",
    "anthropic-messages": "messages",
    "openai-batch": "chat",
}


def build_workload(profile: EndpointProfile) -> Workload:
    """Return the workload of a profile. Raises UsageError for an invalid file, or if a request body
    was redacted when the profile was stored."""
    _require_unredacted_body(profile)
    match profile:
        case HttpProfile():
            return _build_http_workload(profile)
        case GeneratingProfile() | EmbeddingsProfile() | RerankProfile():
            return _build_openai_workload(profile)
        case OipProfile() | OipGrpcProfile():
            return _build_oip_workload(profile)
        case TfServingProfile():
            return _build_tf_serving_workload(profile)
        case TorchServeProfile():
            return _build_torchserve_workload(profile)
        case LocustProfile():
            settings = profile.workload
            return LocustWorkload(str(profile.target.file), settings.user_classes, settings.spawn_per_s)
        case BatchProfile():
            return BatchWorkload(_build_openai_workload(profile), profile.load.batch.poll_s)
        case GrpcProfile():
            return _build_grpc_workload(profile)
        case _:
            assert_never(profile)


def _require_unredacted_body(profile: EndpointProfile) -> None:
    for key in ("body", "bodies", "template", "extra_body"):
        if is_redacted(getattr(profile.workload, key, None)):
            hint = "Restore the secret in this profile, or run the original profile."
            raise UsageError(f"the secret in workload.{key} was removed when this profile was stored", hint=hint)


def _build_http_workload(profile: HttpProfile) -> HttpWorkload:
    settings = profile.workload
    has_fixed_bodies = settings.dataset is None and settings.template is None
    return HttpWorkload(
        method=settings.method,
        path=settings.path,
        bodies=_build_bodies(settings.body, settings.bodies),
        content_type=settings.content_type or ("application/json" if has_fixed_bodies else None),
        template=None if settings.template is None else encode_body(settings.template).decode(),
        dataset=None if settings.dataset is None else build_dataset(settings.dataset),
        expect=settings.expect,
        popularity=settings.popularity,
        seed=profile.load.seed,
    )


def _build_bodies(body: JsonValue, bodies: tuple[JsonValue, ...]) -> tuple[bytes, ...]:
    return tuple(encode_body(value) for value in (bodies if body is None else (body,)))


_OpenAiProfile = GeneratingProfile | EmbeddingsProfile | RerankProfile | BatchProfile


def _build_openai_workload(profile: _OpenAiProfile) -> OpenAiWorkload:
    settings = profile.workload
    return OpenAiWorkload(
        api=_APIS[profile.target.protocol],
        model=profile.target.model,
        prompts=_build_prompts(profile),
        stream=isinstance(profile, GeneratingProfile) and profile.workload.stream,
        extra_body=json.dumps(settings.extra_body, ensure_ascii=False).encode(),
        tokenizer=None if settings.tokenizer is None else str(settings.tokenizer),
        popularity=settings.popularity,
        seed=profile.load.seed,
        cache_bust=_build_cache_bust(profile),
        **({"documents": profile.workload.documents} if isinstance(profile, RerankProfile) else {}),
    )


def _build_prompts(profile: _OpenAiProfile) -> Prompts:
    settings = profile.workload
    if settings.prompts is not None:
        return _build_synthetic_prompts(settings.prompts)
    if settings.dataset is not None:
        return _build_dataset_prompts(settings.dataset)
    assert isinstance(profile, GeneratingProfile)
    if (sessions := profile.workload.sessions) is not None:
        live = LiveHistory(reasoning=sessions.reasoning, context_tokens=sessions.context_tokens)
        return SessionPrompts(Dataset(str(sessions.path), "jsonl"), live)
    assert profile.workload.trace is not None
    load = profile.load
    replay_stages = [stage for stage in load.stages if stage.trace is not None]
    durations_s = [stage.lead_in_s + stage.duration_s for stage in replay_stages if stage.duration_s is not None]
    # Other stages, and replays of the whole trace, may send all prompts.
    is_partial = len(durations_s) == len(load.stages) > 0 and load.sweep is None and load.search is None
    return build_trace_prompts(
        profile.workload.trace,
        next(iter(replay_stages), None),
        load.seed,
        profile.workload.block_tokens,
        max(durations_s) if is_partial else None,
    )


def _build_synthetic_prompts(settings: TextSettings) -> SyntheticPrompts:
    options: dict[str, Any] = {}
    if settings.prefix is not None:
        options = {"prefix_groups": settings.prefix.groups, "prefix_tokens": settings.prefix.tokens}
    if isinstance(settings, PromptSettings | SinglePromptSettings):
        options["output_tokens"] = settings.output_tokens
    if isinstance(settings, PromptSettings):
        options |= {
            "turns": settings.turns,
            "think_time": settings.think_time,
            "live": _build_live_history(settings) if settings.history == "live" else None,
        }
    return SyntheticPrompts(input_tokens=settings.input_tokens, unique=settings.unique, **options)


def _build_live_history(settings: PromptSettings) -> LiveHistory:
    return LiveHistory(
        reasoning=settings.reasoning,
        tool_tokens=settings.tool_tokens,
        tool_time=settings.tool_time,
        parallel=settings.parallel,
        context_tokens=settings.context_tokens,
    )


def _build_cache_bust(profile: _OpenAiProfile) -> CacheBust | None:
    if not isinstance(profile, GeneratingProfile) or profile.workload.cache_bust == "none":
        return None
    return CacheBust(profile.workload.cache_bust, secrets.token_hex(8))


def _build_dataset_prompts(settings: TextDatasetSettings) -> DatasetPrompts:
    dataset = build_dataset(settings.path)
    if isinstance(settings, PromptDatasetSettings):
        return DatasetPrompts(dataset, settings.prompt, settings.output_tokens, settings.sessions)
    if isinstance(settings, SinglePromptDatasetSettings):
        return DatasetPrompts(dataset, settings.prompt, settings.output_tokens)
    return DatasetPrompts(dataset, settings.prompt)


def _build_oip_workload(profile: OipProfile | OipGrpcProfile) -> OipWorkload:
    settings = profile.workload
    transport: Literal["http", "grpc", "grpc-stream"] = "http"
    if isinstance(profile, OipGrpcProfile):
        transport = "grpc-stream" if profile.workload.stream else "grpc"
    return OipWorkload(
        model=profile.target.model,
        version=profile.target.version,
        transport=transport,
        tensors=None if settings.tensors is None else str(settings.tensors),
        labels=settings.labels,
        output=settings.output,
        rows_per_request=settings.rows_per_request,
        binary=profile.workload.binary if isinstance(profile, OipProfile) else True,
        popularity=settings.popularity,
        seed=profile.load.seed,
    )


def compute_label_chance_accuracy(profile: EndpointProfile) -> float | None:
    """Return the accuracy of always predicting the most frequent label. Return `None` without
    labels, or if the labels cannot be read; the load worker reports unreadable labels."""
    if not isinstance(profile, OipProfile | OipGrpcProfile):
        return None
    tensors, labels = profile.workload.tensors, profile.workload.labels
    if tensors is None or labels is None:
        return None
    try:
        with np.load(tensors, allow_pickle=False) as arrays:
            return compute_chance_accuracy(arrays[labels])
    except (OSError, EOFError, ValueError, KeyError, AttributeError, TypeError, zipfile.BadZipFile, zlib.error):
        return None


def _build_tf_serving_workload(profile: TfServingProfile) -> TfServingWorkload:
    settings = profile.workload
    return TfServingWorkload(
        model=profile.target.model,
        version=profile.target.version,
        signature=profile.target.signature,
        tensors=None if settings.tensors is None else str(settings.tensors),
        rows_per_request=settings.rows_per_request,
        popularity=settings.popularity,
        seed=profile.load.seed,
    )


def _build_torchserve_workload(profile: TorchServeProfile) -> TorchServeWorkload:
    settings = profile.workload
    return TorchServeWorkload(
        model=profile.target.model,
        version=profile.target.version,
        bodies=_build_bodies(settings.body, settings.bodies),
        dataset=None if settings.dataset is None else build_dataset(settings.dataset),
        content_type=settings.content_type,
        popularity=settings.popularity,
        seed=profile.load.seed,
    )


def _build_grpc_workload(profile: GrpcProfile) -> GrpcWorkload:
    settings = profile.workload
    requests = HttpWorkload(
        bodies=_build_bodies(settings.body, settings.bodies),
        template=None if settings.template is None else encode_body(settings.template).decode(),
        dataset=None if settings.dataset is None else build_dataset(settings.dataset),
        popularity=settings.popularity,
        seed=profile.load.seed,
    )
    return GrpcWorkload(settings.method, requests, None if settings.protoset is None else str(settings.protoset))
