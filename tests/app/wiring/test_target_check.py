from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from app.errors import UsageError
from app.profiles.loading import load_profile_tree
from app.records.protocols import TEMPLATE_MODEL
from app.records.trial import ConnectionTest, Problem
from app.wiring.target_check import check_target
from loadgen.reference.script import HttpMock, OpenAiMock
from loadgen.reference.scripted import Reply, Script, ScriptedServer
from tests.fakes import decoders
from tests.fakes.certificates import self_signed, server_context

pytestmark = pytest.mark.process

STAGE = {"stages": [{"rate": "1/s", "duration": "1s"}]}


def check_http(url: str, **target: Any) -> ConnectionTest:
    values = {"sizewise": 1, "name": "try", "target": {"protocol": "http", "url": url, **target},
              "workload": {"body": {"x": 1}}, "load": STAGE}  # fmt: skip
    return check_target(load_profile_tree(values, "try.yaml"))


def check_chat(url: str, model: str = "scripted", **workload: Any) -> ConnectionTest:
    target = {"protocol": "openai-chat", "url": f"{url}/v1", "model": model}
    workload_with_prompts = {"prompts": {"input_tokens": 8, "output_tokens": 4}, **workload}
    return check_target(
        load_profile_tree(
            {"sizewise": 1, "name": "try", "target": target, "workload": workload_with_prompts, "load": STAGE},
            "try.yaml",
        )
    )


@contextmanager
def serve_reply(**reply: Any) -> Iterator[ScriptedServer]:
    with ScriptedServer(Script(reply=Reply(**reply))) as server:
        yield server


def test_target_check_sends_a_single_request_and_redacts_secrets() -> None:
    with serve_reply(headers=(("Set-Cookie", "session=4711"), ("Server", "made-up"))) as server:
        check = check_http(server.url, headers={"Authorization": "Bearer s3cret", "Accept": "text/plain"})
        assert len(server.requests) == 1
    assert (check.problem, check.status, check.is_measurable) == (None, 200, True)
    assert check.first_byte_ms is not None
    assert check.total_ms is not None
    assert 0 < check.first_byte_ms <= check.total_ms
    assert ("Authorization", "<redacted>") in check.request_headers
    assert ("Accept", "text/plain") in check.request_headers
    assert ("Set-Cookie", "<redacted>") in check.response_headers
    assert ("Server", "made-up") in check.response_headers
    assert not {"s3cret", "4711"} & set(str(check).replace("=", " ").replace("'", " ").split())


@pytest.mark.parametrize(
    ("reply", "problem", "is_measurable"),
    [
        ({"status": 401}, "unauthorized", False),
        ({"status": 403}, "forbidden", False),
        ({"status": 404}, "not found", False),
        ({"status": 422}, "refused", False),
        ({"status": 429}, "busy", True),
        ({"status": 500}, "server error", True),
        ({"mode": "cut-body"}, "truncated", False),
        ({"mode": "garbage"}, "wrong response", False),
    ],
)
def test_target_check_failure_has_a_problem_and_a_hint(
    reply: dict[str, Any], problem: Problem, is_measurable: bool
) -> None:
    with serve_reply(**reply) as server:
        check = check_http(server.url)
    assert (check.problem, check.is_measurable) == (problem, is_measurable)
    assert check.hint


def test_expected_error_status_is_not_a_problem() -> None:
    with serve_reply(status=404) as server:
        values = {"sizewise": 1, "name": "try", "target": {"protocol": "http", "url": server.url},
                  "workload": {"body": {"x": 1}, "expect": {"status": 404}}, "load": STAGE}  # fmt: skip
        check = check_target(load_profile_tree(values, "try.yaml"))
    assert (check.problem, check.status, check.is_measurable, check.hint) == (None, 404, True, None)


def test_server_that_never_responds_is_a_timeout() -> None:
    with serve_reply(mode="hang") as server:
        check = check_http(server.url, timeouts={"total": "0.3s", "idle": "0.3s"})
    assert check.problem == "timeout"
    assert "target.timeouts.total" in str(check.hint)


def test_closed_port_is_a_connection_problem() -> None:
    with serve_reply() as server:
        url = server.url
    assert check_http(url).problem == "connect"
    with_start_command = check_http(url, start={"command": ["true"], "ready": "/"})
    assert "target.start" in str(with_start_command.hint)


def test_unresolvable_host_is_a_dns_problem() -> None:
    assert check_http("http://no-such-host.invalid").problem == "dns"


def test_untrusted_certificate_is_a_tls_problem_and_a_trusted_certificate_is_described(tmp_path: Path) -> None:
    certificate = self_signed(tmp_path / "own.pem")
    with ScriptedServer(Script(), server_context(certificate)) as server:
        refused = check_http(server.url)
        trusted = check_http(server.url, tls={"ca_file": str(certificate)})
    assert (refused.problem, refused.tls) == ("tls", None)
    assert "not trusted" in refused.summary
    assert trusted.problem is None
    assert trusted.tls is not None
    assert trusted.tls.version.startswith("TLS")
    assert (trusted.tls.subject, trusted.tls.issuer) == ("127.0.0.1", "127.0.0.1")


def test_streamed_response_has_a_first_token_time() -> None:
    with ScriptedServer(Script(protocols=(OpenAiMock(),))) as server:
        check = check_chat(server.url)
    assert (check.problem, check.tokens_out, check.wants_stream) == (None, 4, True)
    assert check.first_token_ms is not None


def test_template_model_is_replaced_by_the_served_model() -> None:
    with ScriptedServer(Script(protocols=(OpenAiMock(model="llama"),))) as server:
        check, named = check_chat(server.url, TEMPLATE_MODEL), check_chat(server.url)
    assert (check.problem, check.model, check.served_models) == (None, "llama", ("llama",))
    assert "llama" in check.notes[-1]
    assert (named.model, named.served_models) == ("scripted", ())


def test_non_streamed_response_to_a_streaming_request_is_reported() -> None:
    response = {
        "object": "chat.completion",
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "tok "}}],
        "usage": {"prompt_tokens": 8, "completion_tokens": 1},
    }
    with ScriptedServer(Script(protocols=(HttpMock(response=response),))) as server:
        streamed, non_streamed = check_chat(server.url), check_chat(server.url, stream=False)
    assert (streamed.problem, streamed.is_measurable) == ("not streaming", True)
    assert "workload.stream: false" in str(streamed.hint)
    assert non_streamed.problem is None


def test_scripted_target_is_started_for_the_check() -> None:
    target = {"protocol": "http", "scripted": {"response": json.loads("{}")}}
    values = {"sizewise": 1, "name": "try", "target": target, "workload": {"body": 1}, "load": STAGE}
    assert check_target(load_profile_tree(values, "try.yaml")).problem is None


def test_local_model_has_no_endpoint_to_check() -> None:
    values = {"sizewise": 1, "name": "try", "target": {"model": "digits"}}
    with pytest.raises(UsageError, match="no endpoint to test"):
        check_target(load_profile_tree(values, "try.yaml"))


def test_language_model_is_served_for_the_check(tmp_path: Path) -> None:
    folder = decoders.paged(tmp_path / "my-model")
    values = {
        "sizewise": 1,
        "name": "try",
        "target": {"protocol": "openai-chat", "serve": {"model": str(folder), "max_batch": 3}},
        "workload": {"prompts": {"input_tokens": 8, "output_tokens": 4}},
        "load": STAGE,
    }
    check = check_target(load_profile_tree(values, "try.yaml"))
    assert (check.problem, check.status, check.model, check.is_measurable) == (None, 200, "my-model", True)
