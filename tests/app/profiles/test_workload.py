from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from app.errors import ProfileError
from app.profiles.workload import encode_body
from tests.app.profiles.conftest import Load

TARGETS: dict[str, dict[str, Any]] = {
    "http": {"protocol": "http", "url": "http://127.0.0.1:1/"},
    "oip": {"protocol": "oip", "url": "http://127.0.0.1:1", "model": "m"},
    "oip-grpc": {"protocol": "oip-grpc", "url": "grpc://127.0.0.1:1", "model": "m"},
    "tf-serving": {"protocol": "tf-serving", "url": "http://127.0.0.1:1", "model": "m"},
    "torchserve": {"protocol": "torchserve", "url": "http://127.0.0.1:1", "model": "m"},
    "locust": {"protocol": "locust", "file": "locustfile.py"},
    "grpc": {"protocol": "grpc", "url": "grpc://127.0.0.1:1"},
    "openai-batch": {"protocol": "openai-batch", "url": "http://127.0.0.1:1/v1", "model": "m"},
}


@pytest.fixture(autouse=True)
def files(tmp_path: Path) -> None:
    (tmp_path / "locustfile.py").write_text("")
    (tmp_path / "rows.jsonl").write_text('{"x": 1}\n')
    (tmp_path / "rows.txt").write_text("1\n")
    (tmp_path / "images").mkdir()


def test_http_method_is_post_only_with_a_body_or_dataset(load: Load) -> None:
    assert "method='GET'" in repr(load(TARGETS["http"], {}).workload)
    assert "method='POST'" in repr(load(TARGETS["http"], {"body": 0}).workload)
    assert "method='POST'" in repr(load(TARGETS["http"], {"dataset": "images"}).workload)


def test_text_body_is_encoded_unchanged_and_other_bodies_as_json() -> None:
    assert encode_body("plain {{x}}") == b"plain {{x}}"
    assert encode_body({"é": [1, 0.5, None]}) == '{"é":[1,0.5,null]}'.encode()


@pytest.mark.parametrize(
    ("protocol", "workload", "message"),
    [
        ("http", {"dataset": "none.jsonl"}, "none.jsonl does not exist"),
        ("http", {"dataset": "a" * 3000}, "File name too long"),
        ("http", {"dataset": "rows.txt"}, "not a supported dataset file"),
        ("http", {"template": "{{x}}"}, "requires workload.dataset"),
        ("http", {"path": "/rows/{{x}}"}, "requires workload.dataset"),
        ("http", {"body": 1, "dataset": "rows.jsonl"}, "only one of body, bodies and dataset"),
        ("http", {"expect": {}}, "needs status, pointer, equals or matches"),
        ("http", {"expect": {"pointer": "data/0"}}, "pointer"),
        ("http", {"expect": {"matches": "("}}, "not a valid regular expression"),
        ("http", {"expect": {"matches": "a", "equals": 1}}, "only one of equals and matches"),
        ("http", {"expect": {"status": 42}}, "status"),
        ("http", {"prompts": {}}, "the key 'prompts' is unknown"),
        ("http", {"popularity": "ziph"}, "not a valid popularity"),
        ("http", {"content_type": "a\r\nX: y"}, "content_type"),
        ("oip-grpc", {"binary": True}, "the key 'binary' is unknown"),
        ("tf-serving", {"labels": "x"}, "the key 'labels' is unknown"),
        ("torchserve", {}, "exactly one of body, bodies and dataset"),
        ("locust", {"body": 1}, "the key 'body' is unknown"),
        ("locust", {"user_classes": ["My User"]}, "user_classes"),
        ("grpc", {"body": {}}, "method"),
        ("grpc", {"method": "demo.Speech.Read"}, "not a gRPC method"),
        ("grpc", {"method": "a/b", "protoset": "none.binpb"}, "none.binpb does not exist"),
        ("grpc", {"method": "a/b", "template": "{{x}}"}, "requires workload.dataset"),
        ("grpc", {"method": "a/b", "body": {}, "bodies": [{}]}, "only one of body, bodies and dataset"),
        ("grpc", {"method": "a/b", "stream": True}, "the key 'stream' is unknown"),
    ],
)
def test_invalid_workloads_are_rejected(load: Load, protocol: str, workload: dict[str, Any], message: str) -> None:
    stage = {"concurrency": 1, "duration": "1s"}
    with pytest.raises(ProfileError, match=message):
        load(TARGETS[protocol], workload, {"stages": [stage]})


@pytest.mark.parametrize(
    ("loads", "message"),
    [
        ({"stages": [{"rate": "1/s", "duration": "1s"}]}, "has no concurrency"),
        ({"stages": [{"concurrency": 1, "think_time": "1s", "duration": "1s"}]}, "cannot be used with a Locust test"),
        ({"search": {}}, "search needs arrivals at a rate"),
    ],
)
def test_locust_test_allows_only_closed_loop_stages(load: Load, loads: dict[str, Any], message: str) -> None:
    with pytest.raises(ProfileError, match=message):
        load(TARGETS["locust"], None, loads, slo=["latency_ms.p95 < 5"])


PROMPTS = {"prompts": {"input_tokens": 3}}
STAGES = {"stages": [{"concurrency": 1, "duration": "1s"}]}


@pytest.mark.parametrize(
    ("target", "workload", "loads", "message"),
    [
        ({}, PROMPTS, STAGES, "a batch has no stages"),
        ({}, PROMPTS, {"batch": {}, "search": {}}, "a batch has no stages"),
        ({}, PROMPTS, {"workers": 2}, "a batch is a single job"),
        ({}, PROMPTS, {"batch": {"poll": "1ms"}}, "poll"),
        ({}, PROMPTS, {"batch": {"requests": 50_001}}, "requests"),
        ({}, PROMPTS, {"batch": {"timeout": "8d"}}, "timeout"),
        ({}, {}, {"batch": {}}, "exactly one of prompts and dataset"),
        (
            {},
            {"prompts": {"input_tokens": 3, "output_tokens": 3, "turns": 2}},
            {"batch": {}},
            "the key 'turns' is unknown",
        ),
        ({}, {**PROMPTS, "stream": True}, {"batch": {}}, "the key 'stream' is unknown"),
        ({"url": None, "urls": ["http://127.0.0.1:1/v1"]}, PROMPTS, {"batch": {}}, "a single server"),
        ({"socket": "s.sock"}, PROMPTS, {"batch": {}}, "Unix socket"),
    ],
)
def test_batch_excludes_stages_search_workers_and_invalid_settings(
    load: Load, target: dict[str, Any], workload: dict[str, Any], loads: dict[str, Any], message: str
) -> None:
    with pytest.raises(ProfileError, match=message):
        load({**TARGETS["openai-batch"], **target}, workload, loads)


def test_batch_is_rejected_for_other_protocols(load: Load) -> None:
    with pytest.raises(ProfileError, match="the key 'batch' is unknown") as caught:
        load(TARGETS["http"], {}, {"batch": {}})
    assert caught.value.hint == "batch is only for protocol openai-batch."
