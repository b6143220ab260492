"""Convert the settings of workloads to the records that load workers send."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

import numpy as np
from pydantic import JsonValue

from app.profiles.datasets import build_dataset
from app.profiles.prompt_content import build_request_options
from app.profiles.prompts import (
    PromptDatasetSettings,
    PromptRequests,
    PromptSettings,
    RealtimeRequests,
    SinglePromptDatasetSettings,
    SinglePromptSettings,
    TextDatasetSettings,
    TextSettings,
)
from app.profiles.trace_replay import build_trace_prompts
from app.profiles.workload import HttpClassSettings, HttpRequests, encode_body
from loadgen.workloads import (
    RERANK_DOCUMENTS,
    SAMPLE_RATE_HZ,
    CacheBust,
    Dataset,
    DatasetPrompts,
    GeneratedAudio,
    GrpcWorkload,
    HttpWorkload,
    LiveHistory,
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

if TYPE_CHECKING:
    from app.profiles.profile import (
        BatchProfile,
        EmbeddingsProfile,
        GeneratingProfile,
        GrpcProfile,
        HttpProfile,
        ImageProfile,
        OipGrpcProfile,
        OipProfile,
        RealtimeProfile,
        RerankProfile,
        SpeechProfile,
        TfServingProfile,
        TorchServeProfile,
        TranscriptionProfile,
    )

    TextProfile: TypeAlias = (
        GeneratingProfile | EmbeddingsProfile | RerankProfile | BatchProfile | SpeechProfile | ImageProfile
    )


def build_http_requests(profile: HttpProfile) -> HttpWorkload | MixedWorkload:
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


class _ClassValues(NamedTuple):
    """What a class of requests has instead of the values of the profile."""

    model: str
    seed: int


def build_openai_workload(
    profile: TextProfile,
    body: Mapping[str, JsonValue] | None = None,
    *,
    stream: bool = False,
    documents: int = RERANK_DOCUMENTS,
    sample_rate_hz: int = SAMPLE_RATE_HZ,
    cache_bust: CacheBust | None = None,
    class_values: _ClassValues | None = None,
) -> OpenAiWorkload:
    """Return the workload of an API of OpenAI or Anthropic. `body` has keys of the requests' bodies, without those
    that are `None`; `extra_body` of the profile overrides them."""
    settings, api = profile.workload, profile.protocol.api
    assert api is not None
    model, seed = class_values or (profile.target.model, profile.load.seed)
    return OpenAiWorkload(
        api=api,
        model=model,
        prompts=_build_prompts(profile),
        stream=stream,
        extra_body=json.dumps({**_omit_unset(body or {}), **settings.extra_body}, ensure_ascii=False).encode(),
        tokenizer=None if settings.tokenizer is None else str(settings.tokenizer),
        documents=documents,
        popularity=settings.popularity,
        seed=seed,
        cache_bust=cache_bust,
        sample_rate_hz=sample_rate_hz,
    )


def build_generating_workload(profile: GeneratingProfile) -> Workload:
    """Return the workload of text generation: a mix if the profile has classes."""
    cache_bust = _build_cache_bust(profile.workload)
    if profile.workload.classes:
        return _build_prompt_mix(profile, cache_bust)
    return build_openai_workload(profile, stream=profile.workload.stream, cache_bust=cache_bust)


def _build_prompt_mix(profile: GeneratingProfile, cache_bust: CacheBust | None) -> MixedWorkload:
    """Return the mix of a profile with classes. Each class has its own seed, so that classes with the
    same prompt settings have different texts."""
    return MixedWorkload(
        classes=tuple(
            WorkloadClass(
                request_class.name,
                request_class.weight,
                build_openai_workload(
                    profile.model_copy(update={"workload": requests}),
                    stream=requests.stream,
                    cache_bust=cache_bust,
                    class_values=_ClassValues(
                        request_class.model or profile.target.model, _derive_seed(profile.load.seed, index)
                    ),
                ),
            )
            for index, (request_class, requests) in enumerate(profile.workload.list_class_requests())
        ),
        seed=profile.load.seed,
    )


def _derive_seed(seed: int, class_index: int) -> int:
    return int(np.random.SeedSequence([seed, class_index]).generate_state(1)[0])


def _omit_unset(fields: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    return {key: value for key, value in fields.items() if value is not None}


def build_transcription_workload(profile: TranscriptionProfile) -> TranscriptionWorkload:
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


def build_realtime_workload(profile: RealtimeProfile) -> RealtimeWorkload:
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


def _build_session(settings: RealtimeRequests) -> dict[str, JsonValue]:
    """Return the settings of a session without turn detection, in which the client decides when the
    model responds."""
    voice = _omit_unset({"voice": settings.voice})
    if settings.version == "beta":
        formats = {"input_audio_format": "pcm16", "output_audio_format": "pcm16"}
        return {"modalities": ["audio", "text"], **formats, "turn_detection": None, **voice}
    input_format: dict[str, JsonValue] = {"type": "audio/pcm", "rate": settings.sample_rate}
    output_format: dict[str, JsonValue] = {"type": "audio/pcm", "rate": settings.output_sample_rate}
    return {
        "type": "realtime",
        "output_modalities": ["audio"],
        "audio": {
            "input": {"format": input_format, "turn_detection": None},
            "output": {"format": output_format, **voice},
        },
    }


def _build_prompts(profile: TextProfile) -> Prompts:
    settings = profile.workload
    if settings.prompts is not None:
        return _build_synthetic_prompts(settings.prompts, profile.load.seed)
    if settings.dataset is not None:
        return _build_dataset_prompts(settings.dataset, profile.load.seed)
    assert isinstance(settings, PromptRequests)
    if (sessions := settings.sessions) is not None:
        live = LiveHistory(reasoning=sessions.reasoning, context_tokens=sessions.context_tokens)
        return SessionPrompts(Dataset(str(sessions.path), "jsonl"), live)
    assert settings.trace is not None
    load = profile.load
    replay_stages = [stage for stage in load.stages if stage.trace is not None]
    durations_s = [stage.lead_in_s + stage.duration_s for stage in replay_stages if stage.duration_s is not None]
    # Other stages, and replays of the whole trace, may send all prompts.
    is_partial = len(durations_s) == len(load.stages) > 0 and load.sweep is None and load.search is None
    return build_trace_prompts(
        settings.trace,
        next(iter(replay_stages), None),
        load.seed,
        settings.block_tokens,
        max(durations_s) if is_partial else None,
    )


def _build_synthetic_prompts(settings: TextSettings | PromptSettings, seed: int) -> SyntheticPrompts:
    prefix = settings.prefix
    prefix_groups, prefix_tokens = (0, 0) if prefix is None else (prefix.groups, prefix.tokens)
    prefix_popularity = None if prefix is None else prefix.popularity
    if isinstance(settings, TextSettings):
        return SyntheticPrompts(
            settings.input_tokens,
            settings.output_tokens if isinstance(settings, SinglePromptSettings) else None,
            prefix_groups=prefix_groups,
            prefix_tokens=prefix_tokens,
            unique=settings.unique,
            prefix_popularity=prefix_popularity,
        )
    input_tokens = settings.input_tokens if settings.lengths is None else settings.lengths.read()
    assert input_tokens is not None
    return SyntheticPrompts(
        input_tokens,
        settings.output_tokens,
        prefix_groups=prefix_groups,
        prefix_tokens=prefix_tokens,
        turns=settings.turns,
        think_time=settings.think_time,
        live=_build_live_history(settings) if settings.history == "live" else None,
        unique=settings.unique,
        prefix_popularity=prefix_popularity,
        documents=settings.documents,
        images=settings.images,
        audio=settings.audio,
        options=_build_options(settings, seed),
    )


def _build_options(settings: PromptSettings | PromptDatasetSettings, seed: int) -> RequestOptions:
    return build_request_options(settings.tools, settings.response_format, seed)


def _build_live_history(settings: PromptSettings) -> LiveHistory:
    return LiveHistory(
        reasoning=settings.reasoning,
        tool_tokens=settings.tool_tokens,
        tool_time=settings.tool_time,
        parallel=settings.parallel,
        context_tokens=settings.context_tokens,
    )


def _build_cache_bust(settings: PromptRequests) -> CacheBust | None:
    return None if settings.cache_bust == "none" else CacheBust(settings.cache_bust, secrets.token_hex(8))


def _build_dataset_prompts(settings: TextDatasetSettings, seed: int) -> DatasetPrompts:
    dataset = build_dataset(settings.path)
    if isinstance(settings, PromptDatasetSettings):
        options = _build_options(settings, seed)
        return DatasetPrompts(dataset, settings.prompt, settings.output_tokens, settings.sessions, options)
    if isinstance(settings, SinglePromptDatasetSettings):
        return DatasetPrompts(dataset, settings.prompt, settings.output_tokens)
    return DatasetPrompts(dataset, settings.prompt)


def build_oip_workload(
    profile: OipProfile | OipGrpcProfile, transport: Literal["http", "grpc", "grpc-stream"], *, binary: bool = True
) -> OipWorkload:
    settings = profile.workload
    return OipWorkload(
        model=profile.target.model,
        version=profile.target.version,
        transport=transport,
        tensors=None if settings.tensors is None else str(settings.tensors),
        labels=settings.labels,
        output=settings.output,
        rows_per_request=settings.rows_per_request,
        binary=binary,
        popularity=settings.popularity,
        seed=profile.load.seed,
    )


def build_tf_serving_workload(profile: TfServingProfile) -> TfServingWorkload:
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


def build_torchserve_workload(profile: TorchServeProfile) -> TorchServeWorkload:
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


def build_grpc_workload(profile: GrpcProfile) -> GrpcWorkload:
    settings = profile.workload
    requests = HttpWorkload(
        bodies=_build_bodies(settings.body, settings.bodies),
        template=None if settings.template is None else encode_body(settings.template).decode(),
        dataset=None if settings.dataset is None else build_dataset(settings.dataset),
        popularity=settings.popularity,
        seed=profile.load.seed,
    )
    return GrpcWorkload(settings.method, requests, None if settings.protoset is None else str(settings.protoset))
