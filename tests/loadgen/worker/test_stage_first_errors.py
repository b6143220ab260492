from collections.abc import Iterator

import msgspec
import pytest

from loadgen.process import LoadProcess
from loadgen.records import MAX_SAMPLE_CHARS, NOT_STARTED, Endpoint, FirstError, Timeouts
from loadgen.reference.scripted import Reply, Script, ScriptedServer
from loadgen.transport.exchange import Exchange
from loadgen.worker.stage import describe_first_errors
from loadgen.workloads import HttpWorkload
from tests.fakes.stage_run import StageRun, plan

pytestmark = pytest.mark.process


def failed_exchange(error: str, sent_ns: int | None = 1_000, **more: object) -> Exchange:
    exchange = Exchange(0, 0, 500, b"", lambda _: None, error=error, sent_ns=sent_ns, end_ns=2_500_001_000)
    return msgspec.structs.replace(exchange, **more)


@pytest.mark.parametrize(
    ("exchange", "text"),
    [
        (failed_exchange("http-5xx", status=503), "status 503 (Service Unavailable)"),
        (failed_exchange("http-4xx", status=499), "status 499"),
        (failed_exchange("connect", detail="Connection refused"), "the connection failed, Connection refused"),
        (failed_exchange("timeout"), "the request timed out after 2.5 s"),
        (failed_exchange("truncated", status=200, bytes_received=1_234),
         "status 200 (OK), the response was truncated after 1,234 bytes"),
        (failed_exchange("bad-payload", status=301), "status 301 (Moved Permanently), redirects are not followed"),
        (failed_exchange("dns"), "dns"),
        (failed_exchange("tls", detail="two\nlines \x1b[31m of a certificate"),
         "the TLS connection failed, two lines [31m of a certificate"),
    ],
)  # fmt: skip
def test_failed_request_is_described_by_status_or_error_detail(exchange: Exchange, text: str) -> None:
    assert describe_first_errors([exchange]) == (FirstError(exchange.error or "", 2_500_001_000, text),)


def test_unsent_requests_have_their_own_class() -> None:
    (unsent,) = describe_first_errors([failed_exchange("timeout", None)])
    assert (unsent.error, unsent.text) == (NOT_STARTED, "no connection was free until the end of the stage")
    (timed_out,) = describe_first_errors([failed_exchange("timeout", None, detail="no connection was free for 60 s")])
    assert timed_out.text == "no connection was free for 60 s"


def test_error_description_is_short_and_has_no_response_content() -> None:
    secret = failed_exchange("http-4xx", status=401, headers=[(b"www-authenticate", b"secret")], body=b"secret")
    (status_error, tls_error) = describe_first_errors([secret, failed_exchange("tls", detail="x" * 1_000)])
    assert status_error.text == "status 401 (Unauthorized)"
    assert len(tls_error.text) == MAX_SAMPLE_CHARS


@pytest.fixture(scope="module")
def load() -> Iterator[LoadProcess]:
    with LoadProcess() as process:
        yield process


def test_first_error_of_each_class_is_reported_per_stage(load: LoadProcess) -> None:
    with ScriptedServer(Script(Reply(503))) as server:
        load.configure(Endpoint((server.url,)), HttpWorkload())
        stage_run = StageRun(load, plan(rate=200, duration=0.6))
    (first_error,) = stage_run.ended.first_errors
    assert (first_error.error, first_error.text) == ("http-5xx", "status 503 (Service Unavailable)")
    assert first_error.at_ns == stage_run.rows["end_ns"].min()
    assert stage_run.progress[-1].first_errors == (first_error,)
    with ScriptedServer(Script()) as server:
        load.configure(Endpoint((server.url,)), HttpWorkload())
        assert StageRun(load, plan(rate=50, duration=0.1)).ended.first_errors == (), "each stage begins anew"


def test_refused_connection_is_described_with_system_error(load: LoadProcess) -> None:
    load.configure(Endpoint(("http://127.0.0.1:1/",), timeouts=Timeouts(total_s=1.0)), HttpWorkload())
    (first_error,) = StageRun(load, plan(rate=20, duration=0.2)).ended.first_errors
    assert (first_error.error, first_error.text) == ("connect", "the connection failed, Connection refused")
