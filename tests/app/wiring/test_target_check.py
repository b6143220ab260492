from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from app.errors import UsageError
from app.profiles.loading import load_profile_tree
from app.profiles.templates import TEMPLATE_MODEL
from app.records.trial import ConnectionTest, Problem
from app.wiring.target_check import check_target
from loadgen.reference.script import HttpMock, OpenAiMock
from loadgen.reference.scripted import Reply, Script, ScriptedServer
from tests.fakes import decoders
from tests.fakes.certificates import self_signed, server_context

pytestmark = pytest.mark.process

STAGE = {"stages": [{"rate": "1/s", "duration": "1s"}]}


def http(url: str, **target: Any) -> ConnectionTest:
    values = {"sizewise": 1, "name": "try", "target": {"protocol": "http", "url": url, **target},
              "workload": {"body": {"x": 1}}, "load": STAGE}  # fmt: skip
    return check_target(load_profile_tree(values, "try.yaml"))


def chat(url: str, model: str = "scripted", **workload: Any) -> ConnectionTest:
    target = {"protocol": "openai-chat", "url": f"{url}/v1", "model": model}
    asked = {"prompts": {"input_tokens": 8, "output_tokens": 4}, **workload}
    return check_target(
        load_profile_tree(
            {"sizewise": 1, "name": "try", "target": target, "workload": asked, "load": STAGE}, "try.yaml"
        )
    )


@contextmanager
def answering(**reply: Any) -> Iterator[ScriptedServer]:
    with ScriptedServer(Script(reply=Reply(**reply))) as server:
        yield server


def test_one_request_is_sent_and_reported() -> None:
    with answering(headers=(("Set-Cookie", "session=4711"), ("Server", "made-up"))) as server:
        trial = http(server.url, headers={"Authorization": "Bearer s3cret", "Accept": "text/plain"})
        assert len(server.requests) == 1
    assert (trial.problem, trial.status, trial.is_measurable) == (None, 200, True)
    assert trial.first_byte_ms is not None
    assert trial.total_ms is not None
    assert 0 < trial.first_byte_ms <= trial.total_ms
    assert ("Authorization", "<redacted>") in trial.request_headers
    assert ("Accept", "text/plain") in trial.request_headers
    assert ("Set-Cookie", "<redacted>") in trial.response_headers
    assert ("Server", "made-up") in trial.response_headers
    assert not {"s3cret", "4711"} & set(str(trial).replace("=", " ").replace("'", " ").split())


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
def test_each_failure_has_its_word_and_a_remedy(reply: dict[str, Any], problem: Problem, is_measurable: bool) -> None:
    with answering(**reply) as server:
        trial = http(server.url)
    assert (trial.problem, trial.is_measurable) == (problem, is_measurable)
    assert trial.hint


def test_a_status_that_is_expected_is_no_problem() -> None:
    with answering(status=404) as server:
        values = {"sizewise": 1, "name": "try", "target": {"protocol": "http", "url": server.url},
                  "workload": {"body": {"x": 1}, "expect": {"status": 404}}, "load": STAGE}  # fmt: skip
        trial = check_target(load_profile_tree(values, "try.yaml"))
    assert (trial.problem, trial.status, trial.is_measurable, trial.hint) == (None, 404, True, None)


def test_a_server_that_never_answers_is_a_timeout() -> None:
    with answering(mode="hang") as server:
        trial = http(server.url, timeouts={"total": "0.3s", "idle": "0.3s"})
    assert trial.problem == "timeout"
    assert "target.timeouts.total" in str(trial.hint)


def test_nobody_at_the_port_is_a_connection_refused() -> None:
    with answering() as server:
        url = server.url
    assert http(url).problem == "connect"
    started = http(url, start={"command": ["true"], "ready": "/"})
    assert "target.start" in str(started.hint)


def test_a_name_without_an_address() -> None:
    assert http("http://no-such-host.invalid").problem == "dns"


def test_a_certificate_of_nobody_we_trust_and_one_that_is_verified(tmp_path: Path) -> None:
    certificate = self_signed(tmp_path / "own.pem")
    with ScriptedServer(Script(), server_context(certificate)) as server:
        refused = http(server.url)
        trusted = http(server.url, tls={"ca_file": str(certificate)})
    assert (refused.problem, refused.tls) == ("tls", None)
    assert "not trusted" in refused.summary
    assert trusted.problem is None
    assert trusted.tls is not None
    assert trusted.tls.version.startswith("TLS")
    assert (trusted.tls.subject, trusted.tls.issuer) == ("127.0.0.1", "127.0.0.1")


def test_a_stream_has_its_first_token() -> None:
    with ScriptedServer(Script(protocols=(OpenAiMock(),))) as server:
        trial = chat(server.url)
    assert (trial.problem, trial.tokens_out, trial.wants_stream) == (None, 4, True)
    assert trial.first_token_ms is not None


def test_the_model_of_a_template_is_that_of_the_server() -> None:
    with ScriptedServer(Script(protocols=(OpenAiMock(model="llama"),))) as server:
        trial, named = chat(server.url, TEMPLATE_MODEL), chat(server.url)
    assert (trial.problem, trial.model, trial.served_models) == (None, "llama", ("llama",))
    assert "llama" in trial.notes[-1]
    assert (named.model, named.served_models) == ("scripted", ())


def test_a_whole_answer_where_a_stream_was_asked_for_is_said() -> None:
    answer = {
        "object": "chat.completion",
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "tok "}}],
        "usage": {"prompt_tokens": 8, "completion_tokens": 1},
    }
    with ScriptedServer(Script(protocols=(HttpMock(response=answer),))) as server:
        streamed, whole = chat(server.url), chat(server.url, stream=False)
    assert (streamed.problem, streamed.is_measurable) == ("not streaming", True)
    assert "workload.stream: false" in str(streamed.hint)
    assert whole.problem is None


def test_what_a_run_starts_itself_is_started() -> None:
    target = {"protocol": "http", "scripted": {"response": json.loads("{}")}}
    values = {"sizewise": 1, "name": "try", "target": target, "workload": {"body": 1}, "load": STAGE}
    assert check_target(load_profile_tree(values, "try.yaml")).problem is None


def test_a_model_of_this_machine_is_no_endpoint() -> None:
    values = {"sizewise": 1, "name": "try", "target": {"model": "digits"}}
    with pytest.raises(UsageError, match="no endpoint to test"):
        check_target(load_profile_tree(values, "try.yaml"))


def test_a_language_model_is_served_for_its_profile(tmp_path: Path) -> None:
    folder = decoders.paged(tmp_path / "my-model")
    values = {
        "sizewise": 1,
        "name": "try",
        "target": {"protocol": "openai-chat", "serve": {"model": str(folder), "max_batch": 3}},
        "workload": {"prompts": {"input_tokens": 8, "output_tokens": 4}},
        "load": STAGE,
    }
    trial = check_target(load_profile_tree(values, "try.yaml"))
    assert (trial.problem, trial.status, trial.model, trial.is_measurable) == (None, 200, "my-model", True)
