"""What a profile asks of its target, as the load worker is told."""

from __future__ import annotations

import json
import zipfile
import zlib
from typing import Any, Literal, assert_never

import numpy as np
from pydantic import JsonValue

from app.analysis.local.accuracy import chance_of
from app.errors import UsageError
from app.profiles.datasets import dataset_of, is_redacted
from app.profiles.profile import (
    EmbeddingsProfile,
    EndpointProfile,
    GeneratingProfile,
    HttpProfile,
    LocustProfile,
    OipGrpcProfile,
    OipProfile,
    RerankProfile,
    TfServingProfile,
    TorchServeProfile,
)
from app.profiles.prompts import PromptDatasetSettings, PromptSettings, TextDatasetSettings, TextSettings
from app.profiles.workload import ExpectSettings, encoded
from app.wiring.stages import lengths_of
from loadgen.workloads import (
    DatasetPrompts,
    Expectation,
    HttpWorkload,
    LocustWorkload,
    OipWorkload,
    OpenAiWorkload,
    Prompts,
    SyntheticPrompts,
    TfServingWorkload,
    TorchServeWorkload,
    TracePrompts,
    Workload,
)

_Api = Literal["chat", "completions", "responses", "embeddings", "rerank"]
_APIS: dict[str, _Api] = {
    "openai-chat": "chat",
    "openai-completions": "completions",
    "openai-responses": "responses",
    "openai-embeddings": "embeddings",
    "openai-rerank": "rerank",
}


def workload_of(profile: EndpointProfile) -> Workload:
    """Raises UsageError for files that are not what they should be, and for a body that was redacted when written."""
    _require_whole_body(profile)
    match profile:
        case HttpProfile():
            return _http(profile)
        case GeneratingProfile() | EmbeddingsProfile() | RerankProfile():
            return _openai(profile)
        case OipProfile() | OipGrpcProfile():
            return _oip(profile)
        case TfServingProfile():
            return _tf_serving(profile)
        case TorchServeProfile():
            return _torchserve(profile)
        case LocustProfile():
            wanted = profile.workload
            return LocustWorkload(str(profile.target.file), wanted.user_classes, wanted.spawn_per_s)
        case _:
            assert_never(profile)


def _require_whole_body(profile: EndpointProfile) -> None:
    for key in ("body", "bodies", "template", "extra_body"):
        if is_redacted(getattr(profile.workload, key, None)):
            hint = "Put the secret back in its place there, or run the profile that this one was written from."
            raise UsageError(f"a secret was taken out of workload.{key} when this profile was written", hint=hint)


def _http(profile: HttpProfile) -> HttpWorkload:
    wanted = profile.workload
    is_plain = wanted.dataset is None and wanted.template is None
    return HttpWorkload(
        method=wanted.method,
        path=wanted.path,
        bodies=_bodies(wanted.body, wanted.bodies),
        content_type=wanted.content_type or ("application/json" if is_plain else None),
        template=None if wanted.template is None else encoded(wanted.template).decode(),
        dataset=None if wanted.dataset is None else dataset_of(wanted.dataset),
        expect=None if wanted.expect is None else _expectation(wanted.expect),
        popularity=wanted.popularity,
        seed=profile.load.seed,
    )


def _bodies(body: JsonValue, bodies: tuple[JsonValue, ...]) -> tuple[bytes, ...]:
    return tuple(encoded(one) for one in (bodies if body is None else (body,)))


def _expectation(expect: ExpectSettings) -> Expectation:
    equals = None if expect.equals is None else json.dumps(expect.equals, ensure_ascii=False).encode()
    return Expectation(expect.status, expect.pointer, equals, expect.matches)


def _openai(profile: GeneratingProfile | EmbeddingsProfile | RerankProfile) -> OpenAiWorkload:
    wanted = profile.workload
    return OpenAiWorkload(
        api=_APIS[profile.target.protocol],
        model=profile.target.model,
        prompts=_prompts(profile),
        stream=isinstance(profile, GeneratingProfile) and profile.workload.stream,
        extra_body=json.dumps(wanted.extra_body, ensure_ascii=False).encode(),
        tokenizer=None if wanted.tokenizer is None else str(wanted.tokenizer),
        popularity=wanted.popularity,
        seed=profile.load.seed,
        **({"documents": profile.workload.documents} if isinstance(profile, RerankProfile) else {}),
    )


def _prompts(profile: GeneratingProfile | EmbeddingsProfile | RerankProfile) -> Prompts:
    wanted = profile.workload
    if wanted.prompts is not None:
        return _synthetic(wanted.prompts)
    if wanted.dataset is not None:
        return _dataset(wanted.dataset)
    assert isinstance(profile, GeneratingProfile)
    assert profile.workload.trace is not None
    replaying = next((stage for stage in profile.load.stages if stage.trace is not None), None)
    return TracePrompts(*lengths_of(profile.workload.trace, replaying, profile.load.seed))


def _synthetic(wanted: TextSettings) -> SyntheticPrompts:
    more: dict[str, Any] = {}
    if wanted.prefix is not None:
        more = {"prefix_groups": wanted.prefix.groups, "prefix_tokens": wanted.prefix.tokens}
    if isinstance(wanted, PromptSettings):
        more |= {"output_tokens": wanted.output_tokens, "turns": wanted.turns, "think_s": wanted.think_s}
    return SyntheticPrompts(input_tokens=wanted.input_tokens, unique=wanted.unique, **more)


def _dataset(wanted: TextDatasetSettings) -> DatasetPrompts:
    output_tokens = wanted.output_tokens if isinstance(wanted, PromptDatasetSettings) else None
    return DatasetPrompts(dataset_of(wanted.path), wanted.prompt, output_tokens)


def _oip(profile: OipProfile | OipGrpcProfile) -> OipWorkload:
    wanted = profile.workload
    transport: Literal["http", "grpc", "grpc-stream"] = "http"
    if isinstance(profile, OipGrpcProfile):
        transport = "grpc-stream" if profile.workload.stream else "grpc"
    return OipWorkload(
        model=profile.target.model,
        version=profile.target.version,
        transport=transport,
        tensors=None if wanted.tensors is None else str(wanted.tensors),
        labels=wanted.labels,
        output=wanted.output,
        rows_per_request=wanted.rows_per_request,
        binary=profile.workload.binary if isinstance(profile, OipProfile) else True,
        popularity=wanted.popularity,
        seed=profile.load.seed,
    )


def accuracy_by_chance(profile: EndpointProfile) -> float | None:
    """Of the labels of a workload; None without any, or where they cannot be read, which the load worker reports."""
    if not isinstance(profile, OipProfile | OipGrpcProfile):
        return None
    tensors, labels = profile.workload.tensors, profile.workload.labels
    if tensors is None or labels is None:
        return None
    try:
        with np.load(tensors, allow_pickle=False) as arrays:
            return chance_of(arrays[labels])
    except (OSError, EOFError, ValueError, KeyError, AttributeError, TypeError, zipfile.BadZipFile, zlib.error):
        return None


def _tf_serving(profile: TfServingProfile) -> TfServingWorkload:
    wanted = profile.workload
    return TfServingWorkload(
        model=profile.target.model,
        version=profile.target.version,
        signature=profile.target.signature,
        tensors=None if wanted.tensors is None else str(wanted.tensors),
        rows_per_request=wanted.rows_per_request,
        popularity=wanted.popularity,
        seed=profile.load.seed,
    )


def _torchserve(profile: TorchServeProfile) -> TorchServeWorkload:
    wanted = profile.workload
    return TorchServeWorkload(
        model=profile.target.model,
        version=profile.target.version,
        bodies=_bodies(wanted.body, wanted.bodies),
        dataset=None if wanted.dataset is None else dataset_of(wanted.dataset),
        content_type=wanted.content_type,
        popularity=wanted.popularity,
        seed=profile.load.seed,
    )
