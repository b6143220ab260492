from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from app.errors import ProfileError
from app.profiles.loading import load_profile
from app.profiles.profile import PROFILES
from app.profiles.resolved import compute_profile_hash, format_spec
from tests.app.profiles.conftest import Load
from tests.fakes.profiles import load_endpoint_profile

URL = "http://127.0.0.1:8000"
WORKLOADS: dict[str, Any] = {
    "openai-chat": {"prompts": {"input_tokens": 10}},
    "openai-completions": {"prompts": {"input_tokens": 10}},
    "openai-responses": {"prompts": {"input_tokens": 10}},
    "anthropic-messages": {"prompts": {"input_tokens": 10, "output_tokens": 5}},
    "openai-embeddings": {"prompts": {"input_tokens": 10}},
    "openai-rerank": {"prompts": {"input_tokens": 10}, "documents": 3},
    "openai-speech": {"prompts": {"input_tokens": 10}, "voice": "alloy", "format": "wav"},
    "openai-transcriptions": {"audio": {"seconds": "uniform 2 to 5"}, "language": "en"},
    "openai-images": {"prompts": {"input_tokens": 10}, "size": "512x512"},
    "openai-realtime": {"audio": {"seconds": 2}, "session": {"instructions": "Be brief.", "tools": None}},
    "torchserve": {"body": {"x": 1}},
    "grpc": {"method": "demo.Speech/Read", "body": {"text": "a"}},
    "openai-batch": {"prompts": {"input_tokens": 10}},
    "http": {},
}


def target(protocol: str, **more: Any) -> dict[str, Any]:
    url = "grpc://127.0.0.1:8001" if protocol in ("oip-grpc", "grpc") else URL
    named = {} if protocol in ("http", "locust", "grpc") else {"model": "org/model:v1"}
    file = {"file": "locustfile.py"} if protocol == "locust" else {}
    return {"protocol": protocol, "url": url, **named, **file, **more}


@pytest.mark.parametrize("protocol", [protocol for protocol in PROFILES if protocol != "local"])
def test_target_of_every_protocol_survives_a_round_trip(load: Load, tmp_path: Path, protocol: str) -> None:
    (tmp_path / "locustfile.py").write_text("")
    stage = {"concurrency": 1, "duration": "1s"} if protocol == "locust" else {"rate": "1/s", "duration": "1s"}
    shape = {"batch": {"requests": 5, "poll": "2s"}} if protocol == "openai-batch" else {"stages": [stage]}
    profile = load(target(protocol), WORKLOADS.get(protocol), shape)
    assert profile.target.protocol == protocol
    text = format_spec(profile)
    spec = tmp_path / "spec.yaml"
    spec.write_text(text)
    assert format_spec(load_profile(spec)) == text
    assert compute_profile_hash(load_profile(spec)) == compute_profile_hash(profile)


def test_target_may_have_several_replica_urls(load: Load) -> None:
    urls = [f"{URL}/score", "http://127.0.0.1:8001/score"]
    profile = load({"protocol": "http", "urls": urls, "balance": "power-of-two"}, {})
    assert profile.target.all_urls == tuple(urls)


def test_start_command_is_split_and_its_directory_preserved(load: Load, tmp_path: Path) -> None:
    start = {"command": "python -m 'my server' --port 8000", "ready": "/health", "env": {"TOKEN": "env:TOKEN"}}
    profile = load({**target("oip"), "start": start})
    assert profile.target.start is not None
    assert profile.target.start.command == ("python", "-m", "my server", "--port", "8000")
    assert profile.target.start.directory == tmp_path
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "spec.yaml").write_text(format_spec(profile))
    reloaded = load_endpoint_profile(elsewhere / "spec.yaml").target.start
    assert reloaded == profile.target.start


def test_scripted_target_has_the_default_model_name(load: Load) -> None:
    profile = load({"protocol": "openai-chat", "scripted": {"delay": "20ms"}}, {"prompts": {"input_tokens": 5}})
    assert "model: scripted" in format_spec(profile)


@pytest.mark.parametrize(
    ("protocol", "more", "message"),
    [
        ("http", {"urls": [URL]}, "exactly one of url, urls and scripted"),
        ("http", {"url": None, "urls": [f"{URL}/a", f"{URL}/b"]}, "must have the same path"),
        ("http", {"url": None, "urls": [URL, "https://127.0.0.1"]}, "all or none must use TLS"),
        ("http", {"url": None, "urls": [URL, URL]}, "a duplicate"),
        ("http", {"url": None, "scripted": {}, "hardware": {"vcpus": 1}}, "do not represent hardware"),
        ("http", {"url": None, "scripted": {}, "wake": True}, "wake needs target.url"),
        ("http", {"url": None, "scripted": {}, "start": {"command": "x", "ready": "/"}}, "start needs target.url"),
        ("http", {"url": None, "scripted": {"tokens": "5/s"}}, "the key 'tokens' is unknown"),
        ("oip", {"url": None, "scripted": {"inputs": {"x": "FP23[4]"}}}, "not a valid tensor"),
        ("oip", {"url": None, "scripted": {"inputs": {"x": "FP32[9999999]"}}}, "the maximum of 4,000,000"),
        ("oip", {"url": None, "scripted": {"inputs": {"x": "FP32[0]"}}}, "a size of 0"),
        ("http", {"model": "x"}, "the key 'model' is unknown"),
        ("openai-chat", {"serve": {"model": "digits"}}, "target.serve.model: 'digits' is not a folder"),
        ("openai-embeddings", {"serve": {"model": "digits"}}, "the key 'serve' is unknown"),
        ("openai-chat", {"model": None}, "model must be text"),
        ("oip", {"model": "a\nb"}, "model"),
        ("oip-grpc", {"url": URL}, "grpc:// or grpcs://"),
        ("grpc", {"url": URL}, "grpc:// or grpcs://"),
        ("grpc", {"model": "m"}, "the key 'model' is unknown"),
        ("oip-grpc", {"url": "grpc://127.0.0.1"}, "must contain a port"),
        ("oip-grpc", {"url": "grpc://127.0.0.1:1/path"}, "neither a path nor a query"),
        ("oip-grpc", {"tls": {"verify": False}}, "gRPC always verifies the certificate"),
        ("http", {"url": "grpc://127.0.0.1:1"}, "http:// or https://"),
        ("http", {"url": f"http://{'a' * 64}/"}, "host name of the URL is not valid"),
        ("http", {"url": "http://a..b/"}, "host name of the URL is not valid"),
        ("oip-grpc", {"url": f"grpc://{'a' * 64}:1"}, "host name of the URL is not valid"),
        ("http", {"api_key": "sk-canary"}, "where the key is stored"),
        ("http", {"api_key": ["sk-canary"]}, "where the key is stored"),
        (
            "http",
            {"api_key": "env:K", "headers": {"authorization": "env:K"}},
            "target has both api_key and an Authorization header",
        ),
        (
            "anthropic-messages",
            {"api_key": "env:K", "headers": {"X-Api-Key": "env:K"}},
            "target has both api_key and an x-api-key header",
        ),
        ("anthropic-messages", {"serve": {"model": "digits"}, "url": None}, "digits"),
        ("http", {"balance": "random"}, "balance"),
        ("http", {"url": "ws://127.0.0.1:1"}, "http:// or https://"),
        ("openai-realtime", {"url": "grpc://127.0.0.1:1"}, "http:// or https://"),
        (
            "http",
            {"traceparent": True, "headers": {"TraceParent": "00-1"}},
            "both traceparent and a traceparent",
        ),
        ("oip-grpc", {"traceparent": True}, "target.traceparent needs a target with HTTP"),
        ("http", {"socket": "s.sock", "url": None, "urls": [URL]}, "target.socket needs target.url"),
        ("http", {"tls": {"key_file": "profile.yaml"}}, "which is missing"),
        ("http", {"tls": {"cert_file": "profile.yaml"}}, "only with https://"),
        ("oip-grpc", {"tls": {"ca_file": "profile.yaml"}}, "only with grpcs://"),
        ("http", {"start": {"command": ["x", "--api-key", "canary"], "ready": "/"}}, "to contain a secret: --api-key"),
        ("http", {"start": {"command": "x --token=canary", "ready": "/"}}, "to contain a secret: --token"),
        ("http", {"start": {"command": "x 'y", "ready": "/"}}, "split into words"),
        ("http", {"start": {"command": [], "ready": "/"}}, "a command must be text"),
        ("http", {"start": {"command": "x"}}, "is missing the key ready"),
        ("http", {"start": {"command": "x", "ready": "/", "env": {"KEY": "canary"}}}, "a profile must not contain"),
        ("http", {"start": {"command": "x", "ready": "/", "env": "canary"}}, "env must be"),
        ("http", {"start": {"command": "x", "ready": "/", "directory": "none"}}, "none does not exist"),
        ("http", {"start": {"command": "x", "ready": "/", "directory": "a" * 3000}}, "File name too long"),
    ],
)
def test_invalid_targets_are_rejected_without_showing_secrets(
    load: Load, protocol: str, more: dict[str, Any], message: str
) -> None:
    values = {key: value for key, value in target(protocol, **more).items() if value is not None or key == "model"}
    with pytest.raises(ProfileError, match=message) as caught:
        load(values, WORKLOADS.get(protocol))
    assert "canary" not in str(caught.value) + (caught.value.hint or "")


def test_websocket_url_becomes_the_http_url_of_its_upgrade(load: Load) -> None:
    for url, upgrade_url in (("ws://127.0.0.1:9/v1", "http://127.0.0.1:9/v1"), ("wss://h/v1", "https://h/v1")):
        profile = load(target("openai-realtime", url=url), WORKLOADS["openai-realtime"])
        assert profile.target.all_urls == (upgrade_url,)


def test_secrets_of_the_target_are_redacted_in_the_spec(load: Load) -> None:
    headers = {"X-Api-Key": "canary", "accept": "text/plain"}
    profile = load({**target("http"), "headers": headers, "api_key": "file:key.txt"}, {})
    text = format_spec(profile)
    assert "canary" not in text
    assert yaml.safe_load(text)["target"]["api_key"].startswith("file:/")


def test_messages_api_requires_a_maximum_of_output_tokens(load: Load, tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"prompt": "a", "n": 5}\n')
    messages = target("anthropic-messages", headers={"Authorization": "env:TOKEN"}, api_key="env:KEY")
    for source, key in (({"prompts": {"input_tokens": 5}}, "prompts"), ({"dataset": "rows.jsonl"}, "dataset")):
        with pytest.raises(ProfileError, match="needs a maximum number of output tokens") as caught:
            load(messages, source)
        assert caught.value.hint == f"Set workload.{key}.output_tokens, or max_tokens in workload.extra_body."
        load(messages, {**source, "extra_body": {"max_tokens": 7}})
    load(messages, {"dataset": {"path": "rows.jsonl", "output_tokens": "n"}})


@pytest.mark.parametrize("source", ["live", "recorded"])
def test_messages_api_rejects_live_sessions(load: Load, tmp_path: Path, source: str) -> None:
    recorded = tmp_path / "agents.jsonl"
    recorded.write_text('{"session": "a", "text": "why?"}\n')
    prompts = {"input_tokens": 10, "output_tokens": 5, "turns": 2, "history": "live"}
    workload = {"prompts": prompts} if source == "live" else {"sessions": str(recorded)}
    with pytest.raises(ProfileError, match="anthropic-messages sends no live sessions"):
        load(target("anthropic-messages"), workload)
