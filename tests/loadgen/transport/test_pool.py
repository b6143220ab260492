import asyncio
import select
import socket
import sys
from collections.abc import Callable
from time import perf_counter

import pytest

from loadgen.records import Endpoint, Timeouts
from loadgen.reference.script import ReplyMode
from loadgen.reference.scripted import Reply, Script, ScriptedServer
from loadgen.transport import connection
from loadgen.transport.address import parse_url
from loadgen.transport.exchange import Exchange, ResolveError
from loadgen.transport.pool import ConnectionPool
from tests.fakes.http_client import GET, HttpClient, RunHttpClient

pytestmark = pytest.mark.timing


def closed_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


@pytest.mark.parametrize(
    "mode", ["whole", "chunked", "until-close", "close-after", "interim", "slow-head", "slow-body", "http-1.0"]
)
def test_response_body_is_read_for_each_framing(run_http_client: RunHttpClient, mode: ReplyMode) -> None:
    reply = Reply(status=201, body=b'{"a": 1}', headers=(("X-Kept", "yes"),), mode=mode)

    async def send_requests(client: HttpClient) -> None:
        for _ in range(2):
            exchange = await client.request()
            assert (exchange.error, exchange.status, exchange.body) == (None, 201, b'{"a": 1}')
            assert (b"X-Kept", b"yes") in exchange.headers
            assert exchange.sent_ns is not None
            assert exchange.first_byte_ns is not None
            assert exchange.end_ns is not None
            assert exchange.sent_ns <= exchange.first_byte_ns <= exchange.end_ns
            assert exchange.bytes_received > len(exchange.body)

    with ScriptedServer(Script(reply)) as server:
        run_http_client(Endpoint((server.url,)), send_requests)
        assert server.connection_count == (2 if "close" in mode or mode == "http-1.0" else 1)


def test_connections_closed_while_idle_are_counted_only_if_reused(
    run_http_client: RunHttpClient,
) -> None:
    async def send_one_request(client: HttpClient) -> None:
        assert (await client.request()).error is None
        async with asyncio.timeout(5):
            while client.transport.closed_idle_count == 0:
                await asyncio.sleep(0)

    async def send_requests(client: HttpClient) -> None:
        for _ in range(20):
            assert (await client.request()).error is None
        assert client.transport.closed_idle_count == 0

    with ScriptedServer(Script(Reply(mode="close-unsaid"))) as server:
        run_http_client(Endpoint((server.url,)), send_one_request)
        run_http_client(Endpoint((server.url,), reuses_connections=False), send_requests)
        assert server.connection_count >= 21  # on both event loops


@pytest.mark.parametrize(
    ("mode", "error"),
    [("drop", "send"), ("reset", "send"), ("cut-body", "truncated"), ("garbage", "bad-payload"), ("hang", "timeout")],
)
def test_server_fault_has_error_class_and_request_is_not_repeated(
    run_http_client: RunHttpClient, mode: ReplyMode, error: str
) -> None:
    async def send_requests(client: HttpClient) -> None:
        assert (await client.request()).error == error

    with ScriptedServer(Script(Reply(mode=mode))) as server:
        run_http_client(Endpoint((server.url,), timeouts=Timeouts(idle_s=0.3)), send_requests)
        assert len(server.requests) == 1


@pytest.mark.parametrize("timeouts", [Timeouts(idle_s=0.4), Timeouts(total_s=0.4)])
def test_hanging_request_ends_within_500_ms_of_its_timeout(run_http_client: RunHttpClient, timeouts: Timeouts) -> None:
    async def send_requests(client: HttpClient) -> None:
        start_s = perf_counter()
        assert (await client.request()).error == "timeout"
        assert 0.4 <= perf_counter() - start_s < 0.9

    with ScriptedServer(Script(Reply(mode="hang"))) as server:
        run_http_client(Endpoint((server.url,), timeouts=timeouts), send_requests)


def test_continuous_bytes_postpone_only_idle_timeout(run_http_client: RunHttpClient) -> None:
    slow = Reply(body=b"x" * 300, mode="slow-head")

    async def send_requests(client: HttpClient) -> None:
        assert (await client.request()).error is None

    async def send_slow_request(client: HttpClient) -> None:
        exchange = await client.request()
        assert (exchange.error, exchange.status) == ("timeout", 200)

    with ScriptedServer(Script(slow)) as server:
        run_http_client(Endpoint((server.url,), timeouts=Timeouts(idle_s=0.2)), send_requests)
        run_http_client(Endpoint((server.url,), timeouts=Timeouts(total_s=0.2)), send_slow_request)


def test_closed_port_is_connect_error(run_http_client: RunHttpClient) -> None:
    async def send_requests(client: HttpClient) -> None:
        exchange = await client.request()
        assert (exchange.error, exchange.status, exchange.first_byte_ns) == ("connect", None, None)
        assert exchange.sent_ns == exchange.queued_ns
        assert client.transport.sent_count == 1

    run_http_client(Endpoint((f"http://127.0.0.1:{closed_port()}",)), send_requests)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit on sockets")
def test_missing_file_descriptor_is_local_limit(run_http_client: RunHttpClient) -> None:
    import resource

    async def send_requests(client: HttpClient) -> None:
        limits_before = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits_before[1]))
        try:
            exchange = await client.request()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits_before)
        assert (exchange.error, exchange.detail) == ("local-limit", "Too many open files")
        assert (await client.request()).error is None

    with ScriptedServer(Script()) as server:
        run_http_client(Endpoint((server.url,)), send_requests)


def test_connection_not_accepted_in_time_is_connect_error(run_http_client: RunHttpClient) -> None:
    async def send_requests(client: HttpClient) -> None:
        exchange = await client.request()
        assert (exchange.error, exchange.detail) == ("connect", "no connection was established within 0.2 s")

    with socket.socket() as listener:  # a listener with a full backlog
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = listener.getsockname()
        clients = [socket.socket() for _ in range(3)]
        for client in clients:
            client.setblocking(False)
            client.connect_ex(address)
        run_http_client(Endpoint((f"http://127.0.0.1:{address[1]}",), timeouts=Timeouts(connect_s=0.2)), send_requests)
        for client in clients:
            client.close()


def test_unresolvable_host_raises_resolve_error() -> None:
    async def resolve() -> None:
        endpoint = Endpoint(("http://nowhere.invalid",))
        pool = ConnectionPool(asyncio.get_running_loop(), parse_url(endpoint.urls[0]), endpoint)
        try:
            await pool.resolve()
        finally:
            pool.close()

    with pytest.raises(ResolveError, match=r"nowhere\.invalid"):
        asyncio.run(resolve())


def test_localhost_is_reached_if_only_one_of_its_addresses_listens(run_http_client: RunHttpClient) -> None:
    async def send_requests(client: HttpClient) -> None:
        assert (await client.request()).error is None

    with ScriptedServer(Script()) as server:
        run_http_client(Endpoint((f"http://localhost:{server.port}",)), send_requests)


def test_idle_connections_are_reused(run_http_client: RunHttpClient) -> None:
    async def send_requests(client: HttpClient) -> None:
        first = await client.request()
        both = await asyncio.gather(client.submit(), client.submit())
        later = [await client.request() for _ in range(20)]
        assert not first.reused
        assert sorted(exchange.reused for exchange in both) == [False, True]
        assert all(exchange.reused for exchange in later)
        assert client.transport.opened_count == 2

    with ScriptedServer(Script(delay_s=0.02)) as server:
        run_http_client(Endpoint((server.url,)), send_requests)


def test_requests_beyond_max_connections_are_queued_in_order(run_http_client: RunHttpClient) -> None:
    async def send_requests(client: HttpClient) -> None:
        exchanges = await asyncio.gather(*(client.submit(b"GET /%d HTTP/1.1\r\n\r\n" % n) for n in range(6)))
        assert client.transport.opened_count == 2
        times = [(exchange.sent_ns, exchange.end_ns) for exchange in exchanges]
        starts = [start_ns for start_ns, _ in times if start_ns is not None]
        ends = [end_ns for _, end_ns in times if end_ns is not None]
        assert len(starts) == len(ends) == 6
        assert starts == sorted(starts)
        assert starts[5] - starts[0] >= 2 * 0.05e9 * 0.9
        assert all(end_ns - start_ns < 0.09e9 for start_ns, end_ns in zip(starts, ends, strict=True))

    with ScriptedServer(Script(delay_s=0.05)) as server:
        run_http_client(Endpoint((server.url,), max_connections=2), send_requests)
        assert [request.split()[1] for request in server.requests] == [b"/%d" % n for n in range(6)]


def test_queued_request_times_out_when_no_connection_becomes_free(run_http_client: RunHttpClient) -> None:
    async def send_requests(client: HttpClient) -> None:
        start_s = perf_counter()
        served, *others = await asyncio.gather(*(client.submit() for _ in range(4)))
        assert 0.4 <= perf_counter() - start_s < 0.9
        assert (served.error, served.sent_ns is None) == ("timeout", False)
        assert {(exchange.error, exchange.sent_ns, exchange.detail) for exchange in others} == {
            ("timeout", None, "no connection was free for 0.4 s")
        }
        assert (client.pool.sent_count, client.pool.outstanding_count) == (1, 0)

    with ScriptedServer(Script(Reply(mode="hang"))) as server:
        run_http_client(
            Endpoint((server.url,), max_connections=1, timeouts=Timeouts(connect_s=0.1, total_s=0.4)), send_requests
        )


def test_unexpected_connection_error_fails_one_request_per_attempt(
    run_http_client: RunHttpClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts = []

    async def connect(*_: object) -> None:
        attempts.append(1)
        raise NotImplementedError

    async def send_requests(client: HttpClient) -> None:
        monkeypatch.setattr(client.pool._route, "connect", connect)
        exchanges = await asyncio.gather(client.submit(), client.submit())
        assert [(exchange.error, exchange.detail) for exchange in exchanges] == [("connect", "NotImplementedError")] * 2

    run_http_client(Endpoint((f"http://127.0.0.1:{closed_port()}",)), send_requests)
    assert len(attempts) == 2


def test_abort_closes_no_idle_connection(run_http_client: RunHttpClient) -> None:
    async def send_requests(client: HttpClient) -> None:
        await asyncio.gather(client.submit(), client.submit())
        hung = client.submit(b"GET /hang HTTP/1.1\r\n\r\n")
        client.transport.abort()
        assert (await hung).error == "timeout"
        assert (await client.request()).reused
        assert (client.transport.opened_count, client.transport.closed_idle_count) == (2, 0)

    with ScriptedServer(Script(delay_s=0.02, paths={"/hang": Reply(mode="hang")})) as server:
        run_http_client(Endpoint((server.url,)), send_requests)


def test_idle_connection_closed_by_server_is_replaced(run_http_client: RunHttpClient) -> None:
    async def send_requests(client: HttpClient) -> None:
        await client.request()
        server.close_connections()
        while client.pool._idle_connections:
            await asyncio.sleep(0)
        exchange = await client.request()
        assert (exchange.error, exchange.reused) == (None, False)

    with ScriptedServer(Script()) as server:
        run_http_client(Endpoint((server.url,)), send_requests)


def test_unnoticed_close_of_idle_connection_is_no_error(
    run_http_client: RunHttpClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "_LONG_IDLE_NS", 0)

    async def send_requests(client: HttpClient) -> None:
        assert (await client.request()).error is None
        assert (await client.request()).reused
        (idle,) = client.pool._idle_connections
        server.close_connections()
        assert idle._transport is not None
        poll = select.poll()
        poll.register(idle._transport.get_extra_info("socket").fileno(), select.POLLIN)
        assert poll.poll(5_000)  # the event loop does not run meanwhile
        exchange = await client.request()
        assert (exchange.error, exchange.reused) == (None, False)

    with ScriptedServer(Script()) as server:
        run_http_client(Endpoint((server.url,)), send_requests)


def test_reused_connection_that_breaks_is_send_error_and_not_repeated(run_http_client: RunHttpClient) -> None:
    async def send_requests(client: HttpClient) -> None:
        await client.request()
        exchange = await client.request(b"GET /drop HTTP/1.1\r\n\r\n")
        assert (exchange.error, exchange.reused, exchange.status) == ("send", True, None)
        assert (await client.request()).error is None

    with ScriptedServer(Script(paths={"/drop": Reply(mode="drop")})) as server:
        run_http_client(Endpoint((server.url,)), send_requests)
        assert [request.split()[1] for request in server.requests] == [b"/", b"/drop", b"/"]


def test_opened_connections_match_server_count_and_highest_concurrency(
    run_http_client: RunHttpClient,
) -> None:
    async def send_requests(client: HttpClient) -> None:
        for together in (3, 1, 5, 2):
            await asyncio.gather(*(client.submit() for _ in range(together)))
        assert client.transport.opened_count == server.connection_count == 5
        assert client.pool.outstanding_count == 0

    with ScriptedServer(Script(delay_s=0.02)) as server:
        run_http_client(Endpoint((server.url,)), send_requests)


def test_server_that_closes_after_response_gets_one_connection_per_request(run_http_client: RunHttpClient) -> None:
    async def send_requests(client: HttpClient) -> None:
        for together in (1, 4, 1, 1):
            exchanges = await asyncio.gather(*(client.submit() for _ in range(together)))
            assert not any(exchange.reused or exchange.error for exchange in exchanges)
        assert client.transport.opened_count == server.connection_count == 7

    with ScriptedServer(Script(Reply(mode="close-after"))) as server:
        run_http_client(Endpoint((server.url,)), send_requests)


def test_submitting_during_abort_blocks_neither_abort_nor_close(run_http_client: RunHttpClient) -> None:
    async def send_requests(client: HttpClient) -> None:
        exchanges: list[Exchange] = []

        def submit_again(exchange: Exchange) -> None:
            exchanges.append(exchange)
            client.transport.submit(Exchange(0, 0, 0, GET, callback))

        callback: Callable[[Exchange], None] = submit_again
        for _ in range(2):
            client.transport.submit(Exchange(0, 0, 0, GET, callback))
        client.transport.abort()
        assert [completed.error for completed in exchanges] == ["timeout"] * 2
        callback = exchanges.append

    with ScriptedServer(Script(Reply(mode="hang"))) as server:
        run_http_client(Endpoint((server.url,), max_connections=1), send_requests)


def test_response_beyond_size_limit_is_bad_payload(run_http_client: RunHttpClient) -> None:
    async def send_requests(client: HttpClient) -> None:
        assert (await client.request()).error == "bad-payload"

    with ScriptedServer(Script(Reply(body=b"x" * (64 * 2**20 + 1)))) as server:
        run_http_client(Endpoint((server.url,)), send_requests)


@pytest.mark.parametrize(("mode", "opened"), [("whole", 1), ("http-1.0", 2), ("close-after", 2)])
def test_head_request_has_no_body_and_reuses_connection(
    run_http_client: RunHttpClient, mode: ReplyMode, opened: int
) -> None:
    async def send_requests(client: HttpClient) -> None:
        for _ in range(2):
            exchange = await client.request(b"HEAD / HTTP/1.1\r\n\r\n", is_head=True)
            assert (exchange.error, exchange.status, exchange.body) == (None, 200, b"")
        assert client.transport.opened_count == opened

    with ScriptedServer(Script(Reply(mode=mode))) as server:
        run_http_client(Endpoint((server.url,)), send_requests)


def test_abort_ends_requests_in_flight_and_queued_requests(run_http_client: RunHttpClient) -> None:
    async def send_requests(client: HttpClient) -> None:
        sent, waiting = client.submit(), client.submit()
        while not server.requests:
            await asyncio.sleep(0)
        client.transport.abort()
        assert (sent.result().error, waiting.result().error) == ("timeout", "timeout")
        assert sent.result().sent_ns is not None
        assert waiting.result().sent_ns is None

    with ScriptedServer(Script(Reply(mode="hang"))) as server:
        run_http_client(Endpoint((server.url,), max_connections=1), send_requests)


def test_connections_opened_for_stall_are_closed_again(
    run_http_client: RunHttpClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("loadgen.transport.pool._MAX_UNUSED_NS", 200_000_000)

    async def send_requests(client: HttpClient) -> None:
        pending = [client.submit() for _ in range(100)]
        assert [exchange.error for exchange in await asyncio.gather(*pending)] == [None] * 100
        assert len(client.pool.list_descriptors()) > 40
        async with asyncio.timeout(20):
            while len(client.pool.list_descriptors()) > 32:
                assert (await client.request()).error is None
        assert client.pool.outstanding_count == 0
        opened_count = client.pool.opened_count
        assert [exchange.error for exchange in await asyncio.gather(*(client.submit() for _ in range(32)))] == [
            None
        ] * 32
        assert (client.pool.opened_count, client.pool.closed_idle_count) == (opened_count, 0)

    with ScriptedServer(Script(delay_s=0.3)) as server:
        run_http_client(Endpoint((server.url,)), send_requests)
