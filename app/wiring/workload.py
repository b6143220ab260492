"""Convert the workload of a profile to the workload that load workers send."""

from __future__ import annotations

import json
import secrets
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypeVar, assert_never

import msgspec
import numpy as np
from pydantic import JsonValue

from app.analysis.local.accuracy import compute_chance_accuracy
from app.errors import UsageError
from app.inference.inspection.client import check_tokenizer
from app.profiles.datasets import SECRET_BODY_KEYS, build_dataset, is_redacted
from app.profiles.problems import BadValueError
from app.profiles.profile import (
    BatchProfile,
    EmbeddingsProfile,
    EndpointProfile,
    GeneratingProfile,
    GrpcProfile,
    HttpProfile,
    ImageProfile,
    LocustProfile,
    OipGrpcProfile,
    OipProfile,
    RealtimeProfile,
    RerankProfile,
    SpeechProfile,
    TfServingProfile,
    TorchServeProfile,
    TranscriptionProfile,
)
from app.profiles.prompt_content import build_request_options
from app.profiles.prompts import (
    PromptDatasetSettings,
    PromptSettings,
    RealtimeRequests,
    SinglePromptDatasetSettings,
    SinglePromptSettings,
    TextDatasetSettings,
    TextSettings,
)
from app.profiles.workload import HttpClassSettings, HttpRequests, encode_body
from app.wiring.stages import build_trace_prompts
from loadgen.regular_files import open_regular
from loadgen.workloads import (
    BatchWorkload,
    CacheBust,
    Dataset,
    DatasetPrompts,
    GeneratedAudio,
    GrpcWorkload,
    HttpWorkload,
    LiveHistory,
    LocustWorkload,
    MixedWorkload,
    OipWorkload,
    OpenAiWorkload,
    Prompts,
    RealtimeWorkload,
    RequestOptions,
    SessionPrompts,
    SyntheticPrompts,
    TfServingWorkload,
    TorchServeWorkload,
    TranscriptionWorkload,
    Workload,
    WorkloadClass,
)

_Api = Literal["chat", "completions", "responses", "embeddings", "rerank", "messages", "speech", "images"]
_APIS: dict[str, _Api] = {
    "openai-chat": "chat",
    "openai-completions": "completions",
    "openai-responses": "responses",
    "openai-embeddings": "embeddings",
    "openai-rerank": "rerank",
    "anthropic-messages": "messages",
    "openai-speech": "speech",
    "openai-images": "images",
    "openai-batch": "chat",
}
_TextProfile = GeneratingProfile | EmbeddingsProfile | RerankProfile | BatchProfile | SpeechProfile | ImageProfile
"""Profile whose requests contain texts."""


def build_workload(profile: EndpointProfile) -> Workload:
    """Return the workload of a profile. Raises UsageError for an invalid file, or if a request body
    was redacted when the profile was stored."""
    _require_unredacted_body(profile)
    match profile:
        case HttpProfile():
            return _build_http_requests(profile)
        case GeneratingProfile():
            return _build_prompt_mix(profile) if profile.workload.classes else _build_openai_workload(profile)
        case EmbeddingsProfile() | RerankProfile() | SpeechProfile() | ImageProfile():
            return _build_openai_workload(profile)
        case TranscriptionProfile():
            return _build_transcription_workload(profile)
        case RealtimeProfile():
            return _build_realtime_workload(profile)
        case OipProfile() | OipGrpcProfile() | TfServingProfile() | TorchServeProfile():
            return _build_model_server_workload(profile)
        case LocustProfile():
            settings = profile.workload
            return LocustWorkload(str(profile.target.file), settings.user_classes, settings.spawn_per_s)
        case BatchProfile():
            return BatchWorkload(_build_openai_workload(profile), profile.load.batch.poll_s)
        case GrpcProfile():
            return _build_grpc_workload(profile)
        case _:
            assert_never(profile)


def check_data(workload: Workload) -> None:
    """Build the requests that contain rows of a dataset, as a load worker does. A prompt dataset with a tokenizer is
    only read, since tokenizers run only in load workers. Raises UsageError if no requests can be made of the data."""
    from loadgen.payloads.datasets import DatasetError, DatasetReader
    from loadgen.protocols import build_requests
    from loadgen.protocols.prepared import MAX_REQUESTS_BYTES, WorkloadError
    from loadgen.records import Endpoint
    from loadgen.transport.address import parse_url

    url = "http://localhost"  # not contacted
    try:
        match workload:
            case MixedWorkload():
                for request_class in workload.classes:
                    check_data(request_class.workload)
            case BatchWorkload() | GrpcWorkload():
                check_data(workload.requests)
            case OpenAiWorkload(prompts=DatasetPrompts() | SessionPrompts() as prompts, tokenizer=str()):
                for _ in DatasetReader(prompts.dataset, MAX_REQUESTS_BYTES):
                    pass
            case (
                OpenAiWorkload(prompts=DatasetPrompts() | SessionPrompts())
                | HttpWorkload()
                | TorchServeWorkload()
                | TranscriptionWorkload(dataset=Dataset())
                | RealtimeWorkload(dataset=Dataset())
            ):
                build_requests(workload, Endpoint((url,)), parse_url(url))
            case _:
                pass
    except (WorkloadError, DatasetError) as error:
        raise UsageError(str(error), hint=getattr(error, "hint", None)) from error


def check_tokenizers(workload: Workload) -> None:
    """Try each tokenizer of a workload in a child process with limits, because its file may come from
    anybody. Raises UsageError, which names the file, if a tokenizer cannot be used or is rejected."""
    match workload:
        case MixedWorkload():
            tokenizers = {
                request_class.workload.tokenizer
                for request_class in workload.classes
                if isinstance(request_class.workload, OpenAiWorkload)
            }
        case BatchWorkload(requests=OpenAiWorkload(tokenizer=path)) | OpenAiWorkload(tokenizer=path):
            tokenizers = {path}
        case _:
            return
    for tokenizer in sorted(path for path in tokenizers if path is not None):
        check_tokenizer(Path(tokenizer))


def _require_unredacted_body(profile: EndpointProfile) -> None:
    settings_by_key = {"workload": profile.workload} | {
        f"workload.classes[{index}]": request_class for index, request_class in enumerate(profile.classes)
    }
    for settings_key, settings in settings_by_key.items():
        for key in SECRET_BODY_KEYS:
            if is_redacted(getattr(settings, key, None)):
                hint = "Restore the secret in this profile, or run the original profile."
                raise UsageError(
                    f"the secret in {settings_key}.{key} was removed when this profile was stored", hint=hint
                )


def _build_model_server_workload(
    profile: OipProfile | OipGrpcProfile | TfServingProfile | TorchServeProfile,
) -> Workload:
    match profile:
        case TfServingProfile():
            return _build_tf_serving_workload(profile)
        case TorchServeProfile():
            return _build_torchserve_workload(profile)
        case OipProfile() | OipGrpcProfile():
            return _build_oip_workload(profile)


def _build_http_requests(profile: HttpProfile) -> HttpWorkload | MixedWorkload:
    seed = profile.load.seed
    if not profile.workload.classes:
        return _build_http_workload(profile.workload, seed)
    classes = tuple(
        WorkloadClass(
            request_class.name,
            request_class.weight,
            _build_http_workload(request_class, _derive_seed(seed, index)),
        )
        for index, request_class in enumerate(profile.workload.classes)
    )
    return MixedWorkload(classes, seed)


def _build_http_workload(settings: HttpRequests | HttpClassSettings, seed: int) -> HttpWorkload:
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
        seed=seed,
    )


def _build_bodies(body: JsonValue, bodies: tuple[JsonValue, ...]) -> tuple[bytes, ...]:
    return tuple(encode_body(value) for value in (bodies if body is None else (body,)))


def _build_openai_workload(profile: _TextProfile) -> OpenAiWorkload:
    settings = profile.workload
    body = settings.extra_body
    options: dict[str, Any] = {}
    if isinstance(profile, RerankProfile):
        options = {"documents": profile.workload.documents}
    elif isinstance(profile, SpeechProfile):
        speech = profile.workload
        body = {**_omit_unset({"voice": speech.voice, "response_format": speech.format}), **body}
        options = {"sample_rate_hz": speech.sample_rate}
    elif isinstance(profile, ImageProfile):
        body = {**_omit_unset({"n": profile.workload.images, "size": profile.workload.size}), **body}
    return OpenAiWorkload(
        api=_APIS[profile.target.protocol],
        model=profile.target.model,
        prompts=_build_prompts(profile),
        stream=isinstance(profile, GeneratingProfile | SpeechProfile) and profile.workload.stream,
        extra_body=json.dumps(body, ensure_ascii=False).encode(),
        tokenizer=None if settings.tokenizer is None else str(settings.tokenizer),
        popularity=settings.popularity,
        seed=profile.load.seed,
        cache_bust=_build_cache_bust(profile),
        **options,
    )


def _build_prompt_mix(profile: GeneratingProfile) -> MixedWorkload:
    """Return the mix of a profile with classes. Each class has its own seed, so that classes with the
    same prompt settings have different texts."""
    cache_bust = _build_cache_bust(profile)
    return MixedWorkload(
        classes=tuple(
            WorkloadClass(
                request_class.name,
                request_class.weight,
                msgspec.structs.replace(
                    _build_openai_workload(profile.model_copy(update={"workload": requests})),
                    model=request_class.model or profile.target.model,
                    seed=_derive_seed(profile.load.seed, index),
                    cache_bust=cache_bust,
                ),
            )
            for index, (request_class, requests) in enumerate(profile.workload.list_class_requests())
        ),
        seed=profile.load.seed,
    )


def _derive_seed(seed: int, class_index: int) -> int:
    return int(np.random.SeedSequence([seed, class_index]).generate_state(1)[0])


def _omit_unset(fields: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in fields.items() if value is not None}


def _build_transcription_workload(profile: TranscriptionProfile) -> TranscriptionWorkload:
    settings = profile.workload
    fields = {
        **_omit_unset({"language": settings.language, "response_format": settings.format}),
        **settings.extra_body,
    }
    return TranscriptionWorkload(
        model=profile.target.model,
        generated=None if settings.audio is None else GeneratedAudio(settings.audio.seconds, settings.audio.unique),
        dataset=None if settings.dataset is None else build_dataset(settings.dataset),
        fields=json.dumps(fields, ensure_ascii=False).encode(),
        popularity=settings.popularity,
        seed=profile.load.seed,
    )


def _build_realtime_workload(profile: RealtimeProfile) -> RealtimeWorkload:
    # Import the module only here, because it imports the protocols.
    from loadgen.protocols.openai_bodies import merge_patch

    settings = profile.workload
    session = merge_patch(_build_session(settings), settings.session)
    return RealtimeWorkload(
        model=profile.target.model,
        generated=None if settings.audio is None else GeneratedAudio(settings.audio.seconds, settings.audio.unique),
        dataset=None if settings.dataset is None else build_dataset(settings.dataset),
        session=json.dumps(session, ensure_ascii=False).encode(),
        sample_rate_hz=settings.sample_rate,
        output_sample_rate_hz=settings.output_sample_rate,
        chunk_s=settings.chunk_s,
        popularity=settings.popularity,
        seed=profile.load.seed,
    )


def _build_session(settings: RealtimeRequests) -> dict[str, Any]:
    """Return the settings of a session without turn detection, in which the client decides when the
    model responds."""
    voice = _omit_unset({"voice": settings.voice})
    if settings.version == "beta":
        formats = {"input_audio_format": "pcm16", "output_audio_format": "pcm16"}
        return {"modalities": ["audio", "text"], **formats, "turn_detection": None, **voice}
    input_format = {"type": "audio/pcm", "rate": settings.sample_rate}
    output_format = {"type": "audio/pcm", "rate": settings.output_sample_rate}
    return {
        "type": "realtime",
        "output_modalities": ["audio"],
        "audio": {
            "input": {"format": input_format, "turn_detection": None},
            "output": {"format": output_format, **voice},
        },
    }


def _build_prompts(profile: _TextProfile) -> Prompts:
    settings = profile.workload
    if settings.prompts is not None:
        return _build_synthetic_prompts(settings.prompts, profile.load.seed)
    if settings.dataset is not None:
        return _build_dataset_prompts(settings.dataset, profile.load.seed)
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


def _build_synthetic_prompts(settings: TextSettings | PromptSettings, seed: int) -> SyntheticPrompts:
    options: dict[str, Any] = {"unique": settings.unique}
    if (prefix := settings.prefix) is not None:
        options |= {
            "prefix_groups": prefix.groups,
            "prefix_tokens": prefix.tokens,
            "prefix_popularity": prefix.popularity,
        }
    if isinstance(settings, SinglePromptSettings):
        options["output_tokens"] = settings.output_tokens
    if isinstance(settings, TextSettings):
        return SyntheticPrompts(settings.input_tokens, **options)
    options |= {
        "output_tokens": settings.output_tokens,
        "turns": settings.turns,
        "think_time": settings.think_time,
        "live": _build_live_history(settings) if settings.history == "live" else None,
        "documents": settings.documents,
        "images": settings.images,
        "audio": settings.audio,
        "options": _build_options(settings, seed),
    }
    if settings.lengths is not None:
        return SyntheticPrompts(_read_content(settings.lengths.read), **options)
    assert settings.input_tokens is not None
    return SyntheticPrompts(settings.input_tokens, **options)


def _build_options(settings: PromptSettings | PromptDatasetSettings, seed: int) -> RequestOptions:
    return _read_content(lambda: build_request_options(settings.tools, settings.response_format, seed))


_Content = TypeVar("_Content")


def _read_content(read: Callable[[], _Content]) -> _Content:
    """Return what `read` reads from a file of the profile. Raises UsageError if the file has become
    invalid since the profile was loaded."""
    try:
        return read()
    except BadValueError as error:
        raise UsageError(str(error), hint=error.hint) from error


def _build_live_history(settings: PromptSettings) -> LiveHistory:
    return LiveHistory(
        reasoning=settings.reasoning,
        tool_tokens=settings.tool_tokens,
        tool_time=settings.tool_time,
        parallel=settings.parallel,
        context_tokens=settings.context_tokens,
    )


def _build_cache_bust(profile: _TextProfile) -> CacheBust | None:
    if not isinstance(profile, GeneratingProfile) or profile.workload.cache_bust == "none":
        return None
    return CacheBust(profile.workload.cache_bust, secrets.token_hex(8))


def _build_dataset_prompts(settings: TextDatasetSettings, seed: int) -> DatasetPrompts:
    dataset = build_dataset(settings.path)
    if isinstance(settings, PromptDatasetSettings):
        options = _build_options(settings, seed)
        return DatasetPrompts(dataset, settings.prompt, settings.output_tokens, settings.sessions, options)
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
        with open_regular(tensors) as file, np.load(file, allow_pickle=False) as arrays:
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
