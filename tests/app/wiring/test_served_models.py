from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import pytest

from app.errors import UnavailableError, UsageError
from app.profiles.url_profile import UrlTarget
from app.wiring.served_models import find_served_model
from loadgen.reference.script import OpenAiMock, Reply, Script
from loadgen.reference.scripted import ScriptedServer
from tests.fakes.processes import free_port


@contextmanager
def serving(document: Any, **reply: Any) -> Iterator[ScriptedServer]:
    body = document if isinstance(document, bytes) else msgspec.json.encode(document)
    with ScriptedServer(Script(reply=Reply(body=body, **reply))) as server:
        yield server


def chat(server: ScriptedServer, **changes: Any) -> UrlTarget:
    return UrlTarget(url=f"{server.url}/v1", protocol="openai-chat", **changes)


def test_model_of_an_openai_server_is_read_from_its_model_list() -> None:
    with ScriptedServer(Script(protocols=(OpenAiMock(model="llama"),))) as server:
        assert find_served_model(chat(server)) == "llama"


def test_models_of_a_websocket_target_are_listed_over_http() -> None:
    with ScriptedServer(Script(protocols=(OpenAiMock(model="llama"),))) as server:
        target = UrlTarget(url=f"ws{server.url[4:]}/v1", protocol="openai-realtime")
        assert find_served_model(target) == "llama"


def test_model_list_request_has_the_api_key_and_the_path_of_the_url(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_KEY", "the-key")
    with serving({"data": [{"id": "m"}]}) as server:
        assert find_served_model(chat(server, api_key="env:API_KEY")) == "m"
        (request,) = server.requests
    assert request.startswith(b"GET /v1/models HTTP/1.1\r\n")
    assert b"authorization: bearer the-key\r\n" in request.lower()


def test_model_list_request_of_the_messages_api_has_its_own_key_header(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_KEY", "the-key")
    with serving({"data": [{"type": "model", "id": "m"}]}) as server:
        for url in (server.url, f"{server.url}/v1/"):
            assert find_served_model(UrlTarget(url=url, protocol="anthropic-messages", api_key="env:API_KEY")) == "m"
        requests = [request.lower() for request in server.requests]
    for request in requests:
        assert request.startswith(b"get /v1/models http/1.1\r\n")
        assert b"x-api-key: the-key\r\n" in request
        assert b"anthropic-version: 2023-06-01\r\n" in request
        assert b"authorization" not in request


def test_model_of_an_oip_server_is_read_from_its_repository_index() -> None:
    with serving([{"name": "digits", "version": "1"}, {"name": "digits", "version": "2"}]) as server:
        assert find_served_model(UrlTarget(url=server.url, protocol="oip")) == "digits"
        (request,) = server.requests
    assert request.startswith(b"POST /v2/repository/index HTTP/1.1\r\n")


def test_several_served_models_are_reported_with_a_choice() -> None:
    with serving({"data": [{"id": name} for name in "abcde"]}) as server, pytest.raises(UsageError) as caught:
        find_served_model(chat(server))
    assert "serves 5 models" in str(caught.value)
    assert caught.value.hint == "Choose one with --model: a, b, c and 2 more."


@pytest.mark.parametrize(
    ("document", "reply", "message"),
    [
        ({"data": []}, {}, "lists no model"),
        ({"data": 5}, {}, "the response is not a list of models"),
        ({"models": ["m"]}, {}, "the response is not a list of models"),
        (b"<html>", {}, "the response is not a list of models"),
        (b" " * (2 << 20), {}, "the response is not a list of models"),
        ({}, {"status": 401}, "HTTP 401"),
        ({}, {"status": 302, "headers": (("Location", "http://127.0.0.1:1/"),)}, "HTTP 302"),
    ],
)
def test_server_without_a_valid_model_list_is_unavailable(document: Any, reply: dict[str, Any], message: str) -> None:
    with serving(document, **reply) as server, pytest.raises(UnavailableError) as caught:
        find_served_model(chat(server))
    assert message in str(caught.value)
    assert "--model" in str(caught.value.hint)


def test_model_list_of_an_unreachable_server_is_unavailable() -> None:
    with pytest.raises(UnavailableError, match="refused"):
        find_served_model(UrlTarget(url=f"http://127.0.0.1:{free_port()}/v1", protocol="openai-chat"))


def test_public_host_is_not_queried_without_permission() -> None:
    with pytest.raises(UsageError, match="is a public host"):
        find_served_model(UrlTarget(url="http://203.0.113.9/v1", protocol="openai-chat"))


def test_model_name_is_required_for_grpc() -> None:
    with pytest.raises(UsageError, match="needs the name of the model"):
        find_served_model(UrlTarget(url="grpc://127.0.0.1:8001", protocol="oip-grpc"))
