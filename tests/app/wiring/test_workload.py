from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.errors import UsageError
from app.wiring.workload import build_workload, check_data
from loadgen.workloads import (
    BatchWorkload,
    Dataset,
    DatasetPrompts,
    Expectation,
    ExponentialDelay,
    FixedDelay,
    FixedLength,
    GeneratedAudio,
    GrpcWorkload,
    HttpWorkload,
    LiveHistory,
    LocustWorkload,
    LognormalLength,
    OipWorkload,
    OpenAiWorkload,
    Popularity,
    RealtimeWorkload,
    SessionPrompts,
    SyntheticPrompts,
    TfServingWorkload,
    TorchServeWorkload,
    TracePrompts,
    TranscriptionWorkload,
    UniformLength,
)
from tests.app.wiring.conftest import HTTP, URL, MakeProfile


def model(protocol: str, **more: Any) -> dict[str, Any]:
    return {"protocol": protocol, "url": URL, "model": "m", **more}


@pytest.fixture(autouse=True)
def files(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text("{}\n")
    (tmp_path / "images").mkdir()
    (tmp_path / "locustfile.py").write_text("")
    (tmp_path / "trace.csv").write_text("timestamp,input_tokens,output_tokens\n0,5,50\n1,6,60\n")


def test_http_workload_has_text_and_json_bodies(make_profile: MakeProfile) -> None:
    workload = build_workload(make_profile(HTTP, {"bodies": ["plain", {"a": None}], "popularity": {"zipf": 1.2}}))
    assert workload == HttpWorkload(
        method="POST",
        bodies=(b"plain", b'{"a":null}'),
        content_type="application/json",
        popularity=Popularity("zipf", 1.2),
        seed=7,
    )


def test_http_template_is_built_with_its_dataset(make_profile: MakeProfile, tmp_path: Path) -> None:
    keys = {"dataset": "rows.jsonl", "template": {"text": "{{question}}"}, "path": "/score/{{id}}"}
    expect = {"status": 201, "pointer": "/ok", "equals": True}
    workload = build_workload(make_profile(HTTP, {**keys, "expect": expect}))
    assert workload == HttpWorkload(
        method="POST",
        path="/score/{{id}}",
        template='{"text":"{{question}}"}',
        dataset=Dataset(str(tmp_path / "rows.jsonl"), "jsonl"),
        expect=Expectation((201,), "/ok", b"true"),
        seed=7,
    )


def test_torchserve_workload_has_its_folder_dataset(make_profile: MakeProfile, tmp_path: Path) -> None:
    workload = build_workload(make_profile(model("torchserve"), {"dataset": "images"}))
    assert workload == TorchServeWorkload(model="m", dataset=Dataset(str(tmp_path / "images"), "folder"), seed=7)


def test_multi_turn_prompts_are_built(make_profile: MakeProfile) -> None:
    prompts = {"input_tokens": {"lognormal": {"median": 200, "sigma": 0.8}}, "output_tokens": 80, "unique": 5,
               "prefix": {"groups": 3, "tokens": 100}, "turns": "uniform 3 to 10", "think_time": "500ms"}  # fmt: skip
    workload = build_workload(
        make_profile(model("openai-chat"), {"prompts": prompts, "extra_body": {"temperature": 0.2}, "stream": False})
    )
    assert workload == OpenAiWorkload(
        api="chat",
        model="m",
        prompts=SyntheticPrompts(
            LognormalLength(200.0, 0.8), FixedLength(80), 3, 100, UniformLength(3, 10), ExponentialDelay(0.5), unique=5
        ),
        stream=False,
        extra_body=b'{"temperature": 0.2}',
        seed=7,
    )


def test_live_sessions_have_their_history_settings_and_a_unique_cache_key(make_profile: MakeProfile) -> None:
    prompts = {"input_tokens": 9, "turns": 4, "think_time": "fixed 1s", "history": "live", "reasoning": "keep",
               "tool_tokens": 30, "tool_time": "2s", "parallel": 3, "context_tokens": 8000}  # fmt: skip
    profile = make_profile(model("openai-chat"), {"prompts": prompts, "cache_bust": "session"})
    workload, next_workload = build_workload(profile), build_workload(profile)
    assert isinstance(workload, OpenAiWorkload)
    assert workload.prompts == SyntheticPrompts(
        FixedLength(9),
        turns=FixedLength(4),
        think_time=FixedDelay(1.0),
        live=LiveHistory("keep", FixedLength(30), ExponentialDelay(2.0), FixedLength(3), 8000),
    )
    assert workload.cache_bust is not None
    assert workload.cache_bust.scope == "session"
    assert workload != next_workload  # each run has its own key


def test_recorded_sessions_are_built(make_profile: MakeProfile, tmp_path: Path) -> None:
    sessions = {"path": "rows.jsonl", "reasoning": "keep", "context_tokens": 900}
    workload = build_workload(make_profile(model("openai-chat"), {"sessions": sessions}))
    assert isinstance(workload, OpenAiWorkload)
    assert workload.prompts == SessionPrompts(
        Dataset(str(tmp_path / "rows.jsonl"), "jsonl"), LiveHistory("keep", context_tokens=900)
    )


def test_embedding_and_rerank_workloads_are_built(make_profile: MakeProfile, tmp_path: Path) -> None:
    embedding = build_workload(
        make_profile(model("openai-embeddings"), {"dataset": {"path": "rows.jsonl", "prompt": "text"}})
    )
    assert embedding == OpenAiWorkload(
        api="embeddings",
        model="m",
        prompts=DatasetPrompts(Dataset(str(tmp_path / "rows.jsonl"), "jsonl"), "text"),
        stream=False,
        seed=7,
    )
    ranking = build_workload(make_profile(model("openai-rerank"), {"prompts": {"input_tokens": 9}, "documents": 3}))
    assert isinstance(ranking, OpenAiWorkload)
    assert (ranking.api, ranking.documents, ranking.stream) == ("rerank", 3, False)


def test_speech_transcription_and_image_workloads_are_built(make_profile: MakeProfile, tmp_path: Path) -> None:
    texts = {"prompts": {"input_tokens": 9}}
    speech = build_workload(
        make_profile(
            model("openai-speech"), {**texts, "voice": "alloy", "sample_rate": 8000, "extra_body": {"speed": 2}}
        )
    )
    assert isinstance(speech, OpenAiWorkload)
    assert (speech.api, speech.stream, speech.sample_rate_hz) == ("speech", True, 8000)
    assert json.loads(speech.extra_body) == {"voice": "alloy", "response_format": "pcm", "speed": 2}
    images = build_workload(make_profile(model("openai-images"), {**texts, "images": 2, "size": "64x64"}))
    assert isinstance(images, OpenAiWorkload)
    assert (images.api, images.stream) == ("images", False)
    assert json.loads(images.extra_body) == {"n": 2, "size": "64x64"}
    (tmp_path / "clips").mkdir()
    files = build_workload(make_profile(model("openai-transcriptions"), {"dataset": "clips", "language": "en"}))
    assert isinstance(files, TranscriptionWorkload)
    assert (files.dataset, files.generated) == (Dataset(str(tmp_path / "clips"), "folder"), None)
    assert json.loads(files.fields) == {"language": "en", "response_format": "json"}
    generated = build_workload(make_profile(model("openai-transcriptions"), {"audio": {"seconds": 4, "unique": 3}}))
    assert isinstance(generated, TranscriptionWorkload)
    assert (generated.dataset, generated.generated) == (None, GeneratedAudio(FixedLength(4), 3))


def test_realtime_session_has_no_turn_detection(make_profile: MakeProfile) -> None:
    settings = {"audio": {"seconds": 4}, "voice": "alloy", "sample_rate": 16_000, "chunk": "50ms"}
    session = {"instructions": "Be brief.", "audio": {"input": {"noise_reduction": {"type": "near_field"}}}}
    released = build_workload(make_profile(model("openai-realtime"), {**settings, "session": session}))
    assert isinstance(released, RealtimeWorkload)
    assert (released.sample_rate_hz, released.output_sample_rate_hz, released.chunk_s) == (16_000, 24_000, 0.05)
    assert json.loads(released.session) == {
        "type": "realtime",
        "output_modalities": ["audio"],
        "instructions": "Be brief.",
        "audio": {
            "input": {
                "format": {"type": "audio/pcm", "rate": 16_000},
                "turn_detection": None,
                "noise_reduction": {"type": "near_field"},
            },
            "output": {"format": {"type": "audio/pcm", "rate": 24_000}, "voice": "alloy"},
        },
    }
    beta = {**settings, "version": "beta", "session": {"modalities": None}}
    older = build_workload(make_profile(model("openai-realtime"), beta))
    assert isinstance(older, RealtimeWorkload)
    assert json.loads(older.session) == {
        "input_audio_format": "pcm16", "output_audio_format": "pcm16", "turn_detection": None, "voice": "alloy",
    }  # fmt: skip


def test_prompts_of_a_trace_have_its_token_lengths(make_profile: MakeProfile) -> None:
    workload = build_workload(make_profile(model("openai-completions"), {"trace": "trace.csv"}))
    assert isinstance(workload, OpenAiWorkload)
    assert isinstance(workload.prompts, TracePrompts)
    assert np.frombuffer(workload.prompts.input_tokens, "<i4").tolist() == [5, 6]
    assert np.frombuffer(workload.prompts.output_tokens, "<i4").tolist() == [50, 60]


@pytest.mark.parametrize(
    ("stages", "inputs"),
    [
        ([{"trace": "trace.csv"}], [5, 6]),
        ([{"trace": "trace.csv", "duration": "0.5s"}], [5]),
        ([{"trace": "trace.csv", "duration": "0.5s"}, {"name": "b", "trace": "trace.csv"}], [5, 6]),
        ([{"trace": "trace.csv", "duration": "0.5s"}, {"name": "b", "rate": "1/s", "duration": "9s"}], [5, 6]),
    ],
)
def test_only_prompts_reached_by_the_replay_are_prepared(
    make_profile: MakeProfile, stages: list[dict[str, Any]], inputs: list[int]
) -> None:
    profile = make_profile(model("openai-completions"), {"trace": "trace.csv"}, load={"stages": stages, "seed": 7})
    workload = build_workload(profile)
    assert isinstance(workload, OpenAiWorkload)
    assert isinstance(workload.prompts, TracePrompts)
    assert np.frombuffer(workload.prompts.input_tokens, "<i4").tolist() == inputs


@pytest.mark.parametrize(("stream", "transport"), [(False, "grpc"), (True, "grpc-stream")])
def test_oip_grpc_workload_is_built(make_profile: MakeProfile, stream: bool, transport: Any) -> None:
    target = {"protocol": "oip-grpc", "url": "grpc://127.0.0.1:8001", "model": "m", "version": "3"}
    workload = build_workload(make_profile(target, {"stream": stream, "rows_per_request": 4}))
    assert workload == OipWorkload(model="m", version="3", transport=transport, rows_per_request=4, seed=7)


def test_oip_http_and_tf_serving_workloads_are_built(make_profile: MakeProfile) -> None:
    assert build_workload(make_profile(model("oip"), {"binary": False})) == OipWorkload(model="m", binary=False, seed=7)
    assert build_workload(make_profile(model("tf-serving", signature="s"))) == TfServingWorkload(
        "m", signature="s", seed=7
    )


def test_grpc_workload_is_built(make_profile: MakeProfile, tmp_path: Path) -> None:
    (tmp_path / "speech.binpb").write_bytes(b"")
    target = {"protocol": "grpc", "url": "grpc://127.0.0.1:50051"}
    settings = {"method": "demo.Speech/Read", "protoset": "speech.binpb"}
    assert build_workload(make_profile(target, {**settings, "bodies": [{"text": "é"}, '{"text": 1}']})) == GrpcWorkload(
        "demo.Speech/Read",
        HttpWorkload(bodies=('{"text":"é"}'.encode(), b'{"text": 1}'), seed=7),
        str(tmp_path / "speech.binpb"),
    )
    filled = build_workload(make_profile(target, {**settings, "dataset": "images", "template": {"text": "{{file}}"}}))
    assert isinstance(filled, GrpcWorkload)
    assert (filled.requests.template, filled.requests.dataset) == (
        '{"text":"{{file}}"}',
        Dataset(str(tmp_path / "images"), "folder"),
    )


def test_batch_workload_consists_of_chat_completions(make_profile: MakeProfile) -> None:
    settings = {"prompts": {"input_tokens": 3, "output_tokens": 5}, "extra_body": {"temperature": 0}}
    profile = make_profile(model("openai-batch"), settings, {"batch": {"poll": "2s"}, "seed": 7})
    prompts = SyntheticPrompts(FixedLength(3), FixedLength(5))
    requests = OpenAiWorkload("chat", "m", prompts, stream=False, extra_body=b'{"temperature": 0}', seed=7)
    assert build_workload(profile) == BatchWorkload(requests, 2.0)


def test_locust_workload_is_built(make_profile: MakeProfile, tmp_path: Path) -> None:
    load = {"stages": [{"concurrency": 5, "duration": "1s"}]}
    target = {"protocol": "locust", "file": "locustfile.py"}
    workload = build_workload(make_profile(target, {"user_classes": ["Shop"], "spawn": "2/s"}, load))
    assert workload == LocustWorkload(str(tmp_path / "locustfile.py"), ("Shop",), 2.0)


def test_secret_in_a_body_is_sent_and_a_redacted_body_is_rejected(make_profile: MakeProfile) -> None:
    sent = build_workload(make_profile(workload={"body": {"api_key": "canary"}}))
    assert isinstance(sent, HttpWorkload)
    assert sent.bodies == (b'{"api_key":"canary"}',)
    with pytest.raises(UsageError, match=r"the secret in workload\.body was removed"):
        build_workload(make_profile(workload={"body": {"api_key": "<redacted>"}}))


@pytest.mark.parametrize(
    ("protocol", "settings"),
    [
        ("http", {"template": {"x": "{{a}}"}}),
        ("grpc", {"method": "a.B/C", "template": {"x": "{{a}}"}}),
        ("openai-chat", {}),
    ],
)
@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("rows.csv", "", "has no rows"),
        ("rows.csv", "a,b\n", "has no rows"),
        ("rows.csv", "a,b\n1\n", "line 2"),
        ("rows.jsonl", '{"a": "1"}\n{"a":\n', "line 2"),
        ("rows.jsonl", '{"b": "1"}\n', "'a'"),
        ("rows.jsonl", '{"a": "1"}\n', None),
    ],
)
def test_dataset_that_yields_no_request_is_rejected(
    make_profile: MakeProfile,
    tmp_path: Path,
    protocol: str,
    settings: dict[str, Any],
    name: str,
    content: str,
    message: str | None,
) -> None:
    (tmp_path / name).write_text(content)
    dataset = {"path": name, "prompt": "a"} if protocol == "openai-chat" else name
    target = {"protocol": protocol, "url": "grpc://h:9" if protocol == "grpc" else "http://h"}
    if protocol == "openai-chat":
        target["model"] = "m"
    prepared = build_workload(make_profile(target, {**settings, "dataset": dataset}))
    if message is None:
        check_data(prepared)
    else:
        with pytest.raises(UsageError, match=message):
            check_data(prepared)
