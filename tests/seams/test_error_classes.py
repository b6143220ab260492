"""Every error class of the load worker, caused by a server or its absence."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from loadgen.process import LoadProcess
from loadgen.records import ERROR_CLASSES, Endpoint, Timeouts
from loadgen.reference.script import Reply, Script
from loadgen.reference.scripted import ScriptedServer
from loadgen.workloads import Expectation, HttpWorkload
from tests.fakes.certificates import self_signed, server_context
from tests.fakes.stage_run import StageRun, plan

pytestmark = pytest.mark.process

SCRIPT = Script(
    paths={
        "/gone": Reply(404),
        "/busy": Reply(429, headers=(("Retry-After", "1"),)),
        "/broken": Reply(500),
        "/unready": Reply(503),
        "/drop": Reply(mode="drop"),
        "/reset": Reply(mode="reset"),
        "/hang": Reply(mode="hang"),
        "/cut": Reply(body=b"x" * 1_000, mode="cut-body"),
        "/garbage": Reply(mode="garbage"),
        "/moved": Reply(302),
        "/wrong": Reply(body=b'{"is_right": false}'),
        "/slow-head": Reply(mode="slow-head"),
        "/slow-body": Reply(body=b"x" * 50, mode="slow-body"),
        "/old": Reply(mode="http-1.0"),
    }
)
FAILING = {
    "/gone": "http-4xx",
    "/busy": "http-4xx",
    "/broken": "http-5xx",
    "/unready": "http-5xx",
    "/drop": "send",
    "/reset": "send",
    "/hang": "timeout",
    "/cut": "truncated",
    "/garbage": "bad-payload",
    "/moved": "bad-payload",
    "/wrong": "bad-output",
}
EXPECT = Expectation(pointer="/is_right", equals=b"true")


@pytest.fixture(scope="module")
def load() -> Iterator[LoadProcess]:
    with LoadProcess() as process:
        yield process


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with ScriptedServer(SCRIPT) as server:
        yield server.url


def endpoint(url: str) -> Endpoint:
    return Endpoint((url,), timeouts=Timeouts(connect_s=1, idle_s=0.3, total_s=2))


@pytest.mark.parametrize(("path", "error"), FAILING.items())
def test_failed_response_has_error_class_in_every_row(load: LoadProcess, url: str, path: str, error: str) -> None:
    load.configure(endpoint(url), HttpWorkload(path=path, expect=EXPECT if path == "/wrong" else None))
    rows = StageRun(load, plan(rate=50, duration=0.1)).rows
    assert list(rows["error"]) == [error] * 5


@pytest.mark.parametrize("path", ["/slow-head", "/slow-body", "/old"])
def test_slow_or_http_1_0_response_is_accepted(load: LoadProcess, url: str, path: str) -> None:
    load.configure(endpoint(url), HttpWorkload(path=path))
    rows = StageRun(load, plan(rate=50, duration=0.1)).rows
    assert len(rows) == 5
    assert rows["error"].isna().all()


def test_unreachable_server_has_error_class(load: LoadProcess, tmp_path: Path) -> None:
    tls = server_context(self_signed(tmp_path / "server.pem"))
    with socket.socket() as taken, ScriptedServer(SCRIPT, tls) as untrusted:
        taken.bind(("127.0.0.1", 0))
        urls = {
            "dns": "http://host.invalid/",
            "connect": f"http://127.0.0.1:{taken.getsockname()[1]}/",
            "tls": untrusted.url,
        }
        errors = {}
        for error, target_url in urls.items():
            load.configure(endpoint(target_url), HttpWorkload())
            errors[error] = load.preflight().error
    assert errors == {error: error for error in urls}
    # requests that fail by a limit of this machine are tested in tests/loadgen/transport/test_exchange.py
    assert {*urls, *FAILING.values(), "local-limit"} == set(ERROR_CLASSES)
