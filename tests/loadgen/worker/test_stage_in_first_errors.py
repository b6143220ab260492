from collections.abc import Iterator

import msgspec
import pytest

from loadgen.process import LoadProcess
from loadgen.records import MAX_SAMPLE_CHARS, NOT_STARTED, Endpoint, FirstError, Timeouts
from loadgen.reference.scripted import Reply, Script, ScriptedServer
from loadgen.transport.exchange import Exchange
from loadgen.worker.stage import describe_first_errors
from loadgen.workloads import HttpWorkload
from tests.fakes.played import Played, plan

pytestmark = pytest.mark.process


def failed(error: str, sent_ns: int | None = 1_000, **more: object) -> Exchange:
    exchange = Exchange(0, 0, 500, b"", lambda _: None, error=error, sent_ns=sent_ns, end_ns=2_500_001_000)
    return msgspec.structs.replace(exchange, **more)


@pytest.mark.parametrize(
    ("exchange", "text"),
    [
        (failed("http-5xx", status=503), "status 503 (Service Unavailable)"),
        (failed("http-4xx", status=499), "status 499"),
        (failed("connect", detail="Connection refused"), "the connection failed, Connection refused"),
        (failed("timeout"), "the request timed out after 2.5 s"),
        (failed("truncated", status=200, bytes_received=1_234),
         "status 200 (OK), the response was truncated after 1,234 bytes"),
        (failed("bad-payload", status=301), "status 301 (Moved Permanently), redirects are not followed"),
        (failed("dns"), "dns"),
        (failed("tls", detail="two\nlines \x1b[31m of a certificate"),
         "the TLS connection failed, two lines [31m of a certificate"),
    ],
)  # fmt: skip
def test_a_failure_is_reported_in_words_of_its_own(exchange: Exchange, text: str) -> None:
    assert describe_first_errors([exchange]) == (FirstError(exchange.error or "", 2_500_001_000, text),)


def test_what_was_never_sent_is_a_class_of_its_own() -> None:
    (cut,) = describe_first_errors([failed("timeout", None)])
    assert (cut.error, cut.text) == (NOT_STARTED, "no connection was free until the end of the stage")
    (waited,) = describe_first_errors([failed("timeout", None, detail="no connection was free for 60 s")])
    assert waited.text == "no connection was free for 60 s"


def test_a_sample_is_short_and_holds_nothing_of_what_was_answered() -> None:
    secret = failed("http-4xx", status=401, headers=[(b"www-authenticate", b"secret")], body=b"secret")
    (reported, long) = describe_first_errors([secret, failed("tls", detail="x" * 1_000)])
    assert reported.text == "status 401 (Unauthorized)"
    assert len(long.text) == MAX_SAMPLE_CHARS


@pytest.fixture(scope="module")
def load() -> Iterator[LoadProcess]:
    with LoadProcess() as process:
        yield process


def test_only_the_first_of_each_class_leaves_the_worker(load: LoadProcess) -> None:
    with ScriptedServer(Script(Reply(503))) as server:
        load.configure(Endpoint((server.url,)), HttpWorkload())
        played = Played(load, plan(rate=200, duration=0.6))
    (first,) = played.ended.first_errors
    assert (first.error, first.text) == ("http-5xx", "status 503 (Service Unavailable)")
    assert first.at_ns == played.rows["end_ns"].min()
    assert played.progress[-1].first_errors == (first,)
    with ScriptedServer(Script()) as server:
        load.configure(Endpoint((server.url,)), HttpWorkload())
        assert Played(load, plan(rate=50, duration=0.1)).ended.first_errors == (), "each stage begins anew"


def test_a_refused_connection_is_reported_as_the_system_says_it(load: LoadProcess) -> None:
    load.configure(Endpoint(("http://127.0.0.1:1/",), timeouts=Timeouts(total_s=1.0)), HttpWorkload())
    (first,) = Played(load, plan(rate=20, duration=0.2)).ended.first_errors
    assert (first.error, first.text) == ("connect", "the connection failed, Connection refused")
