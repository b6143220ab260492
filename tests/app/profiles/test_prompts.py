from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from app.errors import ProfileError
from app.profiles.problems import BadValueError, UnknownKeyError
from app.profiles.profile import GeneratingProfile
from app.profiles.prompts import format_delay, parse_delay
from loadgen.workloads import Delay, ExponentialDelay, FixedDelay, LognormalDelay, UniformDelay
from tests.app.profiles.conftest import Load


def target(api: str = "chat") -> dict[str, Any]:
    return {"protocol": f"openai-{api}", "url": "http://127.0.0.1:1/v1", "model": "m"}


@pytest.fixture(autouse=True)
def files(tmp_path: Path) -> None:
    (tmp_path / "asked.jsonl").write_text('{"question": "why?"}\n')
    (tmp_path / "trace.csv").write_text("timestamp,input_tokens,output_tokens\n0,5,6\n1,7,8\n")
    (tmp_path / "bare.csv").write_text("timestamp\n0\n")


def test_dataset_may_be_a_path(load: Load) -> None:
    profile = load(target(), {"dataset": "asked.jsonl"})
    assert isinstance(profile, GeneratingProfile)
    assert profile.workload.dataset is not None
    assert profile.workload.dataset.prompt == "prompt"


@pytest.mark.parametrize(
    ("api", "workload", "message"),
    [
        ("chat", {}, "exactly one of prompts, dataset, trace and sessions"),
        (
            "chat",
            {"prompts": {"input_tokens": 5}, "trace": "trace.csv"},
            "exactly one of prompts, dataset, trace and sessions",
        ),
        ("speech", {"prompts": {"input_tokens": 5}, "documents": 3}, "the key 'documents' is unknown"),
        (
            "speech",
            {"prompts": {"input_tokens": 5}, "extra_body": {"response_format": "wav"}},
            "extra_body.response_format conflicts with workload.format",
        ),
        ("speech", {"prompts": {"input_tokens": 5}, "format": "ogg"}, "format"),
        ("speech", {"prompts": {"input_tokens": 5}, "dataset": "asked.jsonl"}, "exactly one of prompts and dataset"),
        ("images", {"prompts": {"input_tokens": 5}, "size": "big"}, "size"),
        ("images", {"prompts": {"input_tokens": 5}, "extra_body": {"n": 2}}, "n conflicts with workload.images"),
        ("transcriptions", {}, "exactly one of audio and dataset"),
        ("realtime", {}, "exactly one of audio and dataset"),
        ("realtime", {"dataset": "asked.jsonl"}, "asked.jsonl is not a folder"),
        ("realtime", {"audio": {"seconds": 5}, "chunk": "1ms"}, "chunk"),
        ("transcriptions", {"audio": {"seconds": 5}, "dataset": "."}, "exactly one of audio and dataset"),
        ("transcriptions", {"prompts": {"input_tokens": 5}}, "the key 'prompts' is unknown"),
        ("transcriptions", {"dataset": "asked.jsonl"}, "asked.jsonl is not a folder"),
        ("transcriptions", {"audio": {"seconds": "uniform 5 to 3601"}}, "the maximum of 3,600"),
        ("transcriptions", {"audio": {"seconds": 5}, "extra_body": {"stream": True}}, "as a whole, not streamed"),
        (
            "transcriptions",
            {"audio": {"seconds": 5}, "extra_body": {"language": "en"}},
            "language conflicts with workload.language",
        ),
        ("chat", {"prompts": {}}, "is missing the key input_tokens"),
        ("chat", {"prompts": {"input_tokens": {"lognormal": {"median": 3, "sgma": 1}}}}, "the key 'sgma' is unknown"),
        ("chat", {"prompts": {"input_tokens": 5, "think_time": "1s"}}, "requires prompts.turns"),
        ("chat", {"prompts": {"input_tokens": 5, "turns": 3}}, "turns requires output_tokens"),
        ("chat", {"prompts": {"input_tokens": 5, "output_tokens": 5, "turns": 2000}}, "exceeds the maximum of 1,000"),
        ("chat", {"prompts": {"input_tokens": 5, "prefix": {"groups": 2}}}, "is missing the key tokens"),
        ("chat", {"prompts": {"input_tokens": 5, "history": "live"}}, "requires prompts.turns"),
        ("chat", {"prompts": {"input_tokens": 5, "reasoning": "keep"}}, "reasoning requires prompts.history: live"),
        ("chat", {"prompts": {"input_tokens": 5, "turns": 2, "history": "live", "parallel": 101}}, "maximum of 100"),
        ("chat", {"prompts": {"input_tokens": 5}, "cache_bust": "session"}, "or prompts.history: live"),
        ("embeddings", {"prompts": {"input_tokens": 5}, "cache_bust": "run"}, "the key 'cache_bust' is unknown"),
        ("chat", {"trace": "bare.csv"}, "is missing the column"),
        ("chat", {"prompts": {"input_tokens": 5}, "documents": 3}, "the key 'documents' is unknown"),
        ("chat", {"prompts": {"input_tokens": 5}, "extra_body": [1]}, "extra_body"),
        ("chat", {"prompts": {"input_tokens": 5}, "extra_body": {"stream": False}}, "conflicts with workload.stream"),
        ("embeddings", {"prompts": {"input_tokens": 5}, "extra_body": {"model": "x"}}, "conflicts with target.model"),
        ("embeddings", {"prompts": {"input_tokens": 5, "output_tokens": 5}}, "the key 'output_tokens' is unknown"),
        ("embeddings", {"prompts": {"input_tokens": 5}, "stream": True}, "the key 'stream' is unknown"),
        ("rerank", {"prompts": {"input_tokens": 5}, "documents": 0}, "at least 1"),
    ],
)
def test_invalid_prompt_workloads_are_rejected(load: Load, api: str, workload: dict[str, Any], message: str) -> None:
    with pytest.raises(ProfileError, match=message):
        load(target(api), workload)


def test_stages_must_replay_the_trace_of_the_prompts_in_the_same_way(load: Load) -> None:
    stages = [{"name": "a", "trace": "trace.csv"}, {"name": "b", "trace": "trace.csv", "superpose": 2}]
    with pytest.raises(ProfileError, match=r"must replay workload\.trace in the same way"):
        load(target(), {"trace": "trace.csv"}, {"stages": stages})
    load(target(), {"trace": "trace.csv"}, {"stages": stages[:1]})


@pytest.mark.parametrize(
    ("written", "delay"),
    [
        ("5s", ExponentialDelay(5.0)),
        ("0s", FixedDelay(0.0)),
        ("fixed 500ms", FixedDelay(0.5)),
        ("uniform 1s to 2m", UniformDelay(1.0, 120.0)),
        ({"lognormal": {"median": "5s", "sigma": 0.8, "max": "1m"}}, LognormalDelay(5.0, 0.8, 60.0)),
        ({"lognormal": {"median": "5s", "sigma": 0.8}}, LognormalDelay(5.0, 0.8)),
    ],
)
def test_delay_survives_a_round_trip(written: object, delay: Delay) -> None:
    assert parse_delay(written) == delay
    assert format_delay(delay) == written


@pytest.mark.parametrize(
    "written",
    ["5", 5, "fixed 5", "uniform 2s to 1s", "60d", "-1s", {"normal": {}}, {"lognormal": {"median": "5s"}},
     {"lognormal": {"median": "5s", "sigma": 9}}, {"lognormal": {"median": "5s", "sigma": 1, "mx": "1s"}}, None],
)  # fmt: skip
def test_invalid_delays_are_rejected(written: object) -> None:
    with pytest.raises((BadValueError, UnknownKeyError)):
        parse_delay(written)
