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
from tests.fakes.asker import GET, Asker, Converse

pytestmark = pytest.mark.timing


def closed_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


@pytest.mark.parametrize(
    "manner", ["whole", "chunked", "until-close", "close-after", "interim", "slow-head", "slow-body", "http-1.0"]
)
def test_every_way_to_frame_a_body_is_read(converse: Converse, manner: ReplyMode) -> None:
    reply = Reply(status=201, body=b'{"a": 1}', headers=(("X-Kept", "yes"),), mode=manner)

    async def talk(asker: Asker) -> None:
        for _ in range(2):
            done = await asker.ask()
            assert (done.error, done.status, done.body) == (None, 201, b'{"a": 1}')
            assert (b"X-Kept", b"yes") in done.headers
            assert done.sent_ns is not None
            assert done.first_byte_ns is not None
            assert done.end_ns is not None
            assert done.sent_ns <= done.first_byte_ns <= done.end_ns
            assert done.bytes_received > len(done.body)

    with ScriptedServer(Script(reply)) as server:
        converse(Endpoint((server.url,)), talk)
        assert server.connection_count == (2 if "close" in manner or manner == "http-1.0" else 1)


def test_a_connection_closed_without_a_word_is_seen_and_one_that_is_not_reused_is_never_missed(
    converse: Converse,
) -> None:
    async def talk_once(asker: Asker) -> None:
        assert (await asker.ask()).error is None
        async with asyncio.timeout(5):
            while asker.transport.closed_idle_count == 0:
                await asyncio.sleep(0)

    async def talk(asker: Asker) -> None:
        for _ in range(20):
            assert (await asker.ask()).error is None
        assert asker.transport.closed_idle_count == 0

    with ScriptedServer(Script(Reply(mode="close-unsaid"))) as server:
        converse(Endpoint((server.url,)), talk_once)
        converse(Endpoint((server.url,), reuses_connections=False), talk)
        assert server.connection_count >= 21  # those of two event loops


@pytest.mark.parametrize(
    ("manner", "error"),
    [("drop", "send"), ("reset", "send"), ("cut-body", "truncated"), ("garbage", "bad-payload"), ("hang", "timeout")],
)
def test_each_fault_has_its_class_and_is_not_sent_again(converse: Converse, manner: ReplyMode, error: str) -> None:
    async def talk(asker: Asker) -> None:
        assert (await asker.ask()).error == error

    with ScriptedServer(Script(Reply(mode=manner))) as server:
        converse(Endpoint((server.url,), timeouts=Timeouts(idle_s=0.3)), talk)
        assert len(server.requests) == 1


@pytest.mark.parametrize("timeouts", [Timeouts(idle_s=0.4), Timeouts(total_s=0.4)])
def test_a_hang_ends_within_half_a_second_of_its_deadline(converse: Converse, timeouts: Timeouts) -> None:
    async def talk(asker: Asker) -> None:
        start_s = perf_counter()
        assert (await asker.ask()).error == "timeout"
        assert 0.4 <= perf_counter() - start_s < 0.9

    with ScriptedServer(Script(Reply(mode="hang"))) as server:
        converse(Endpoint((server.url,), timeouts=timeouts), talk)


def test_bytes_that_keep_coming_hold_off_the_idle_deadline_only(converse: Converse) -> None:
    slow = Reply(body=b"x" * 300, mode="slow-head")

    async def talk(asker: Asker) -> None:
        assert (await asker.ask()).error is None

    async def talk_too_long(asker: Asker) -> None:
        done = await asker.ask()
        assert (done.error, done.status) == ("timeout", 200)

    with ScriptedServer(Script(slow)) as server:
        converse(Endpoint((server.url,), timeouts=Timeouts(idle_s=0.2)), talk)
        converse(Endpoint((server.url,), timeouts=Timeouts(total_s=0.2)), talk_too_long)


def test_a_closed_port_is_a_failed_connection(converse: Converse) -> None:
    async def talk(asker: Asker) -> None:
        done = await asker.ask()
        assert (done.error, done.status, done.first_byte_ns) == ("connect", None, None)
        assert done.sent_ns == done.queued_ns
        assert asker.transport.sent_count == 1

    converse(Endpoint((f"http://127.0.0.1:{closed_port()}",)), talk)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit on sockets")
def test_a_connection_without_a_descriptor_is_a_local_limit(converse: Converse) -> None:
    import resource

    async def talk(asker: Asker) -> None:
        before = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, before[1]))
        try:
            done = await asker.ask()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
        assert (done.error, done.detail) == ("local-limit", "Too many open files")
        assert (await asker.ask()).error is None

    with ScriptedServer(Script()) as server:
        converse(Endpoint((server.url,)), talk)


def test_a_connection_that_is_not_taken_in_time_is_a_failed_connection(converse: Converse) -> None:
    async def talk(asker: Asker) -> None:
        done = await asker.ask()
        assert (done.error, done.detail) == ("connect", "no connection was established within 0.2 s")

    with socket.socket() as deaf:  # a full backlog that nobody accepts from
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        address = deaf.getsockname()
        crowd = [socket.socket() for _ in range(3)]
        for each in crowd:
            each.setblocking(False)
            each.connect_ex(address)
        converse(Endpoint((f"http://127.0.0.1:{address[1]}",), timeouts=Timeouts(connect_s=0.2)), talk)
        for each in crowd:
            each.close()


def test_a_name_without_an_address_is_dns() -> None:
    async def resolve() -> None:
        endpoint = Endpoint(("http://nowhere.invalid",))
        pool = ConnectionPool(asyncio.get_running_loop(), parse_url(endpoint.urls[0]), endpoint)
        try:
            await pool.resolve()
        finally:
            pool.close()

    with pytest.raises(ResolveError, match=r"nowhere\.invalid"):
        asyncio.run(resolve())


def test_localhost_is_reached_though_only_one_of_its_addresses_listens(converse: Converse) -> None:
    async def talk(asker: Asker) -> None:
        assert (await asker.ask()).error is None

    with ScriptedServer(Script()) as server:
        converse(Endpoint((f"http://localhost:{server.port}",)), talk)


def test_connections_are_kept_and_the_last_one_used_goes_first(converse: Converse) -> None:
    async def talk(asker: Asker) -> None:
        first = await asker.ask()
        both = await asyncio.gather(asker.submit(), asker.submit())
        later = [await asker.ask() for _ in range(20)]
        assert not first.reused
        assert sorted(done.reused for done in both) == [False, True]
        assert all(done.reused for done in later)
        assert asker.transport.opened_count == 2

    with ScriptedServer(Script(delay_s=0.02)) as server:
        converse(Endpoint((server.url,)), talk)


def test_beyond_the_most_connections_arrivals_wait_their_turn(converse: Converse) -> None:
    async def talk(asker: Asker) -> None:
        done = await asyncio.gather(*(asker.submit(b"GET /%d HTTP/1.1\r\n\r\n" % n) for n in range(6)))
        assert asker.transport.opened_count == 2
        times = [(each.sent_ns, each.end_ns) for each in done]
        starts = [start_ns for start_ns, _ in times if start_ns is not None]
        ends = [end_ns for _, end_ns in times if end_ns is not None]
        assert len(starts) == len(ends) == 6
        assert starts == sorted(starts)
        assert starts[5] - starts[0] >= 2 * 0.05e9 * 0.9
        assert all(end_ns - start_ns < 0.09e9 for start_ns, end_ns in zip(starts, ends, strict=True))

    with ScriptedServer(Script(delay_s=0.05)) as server:
        converse(Endpoint((server.url,), max_connections=2), talk)
        assert [request.split()[1] for request in server.requests] == [b"/%d" % n for n in range(6)]


def test_who_waits_for_a_connection_gives_up_when_an_answer_would_be_late(converse: Converse) -> None:
    async def talk(asker: Asker) -> None:
        start_s = perf_counter()
        served, *others = await asyncio.gather(*(asker.submit() for _ in range(4)))
        assert 0.4 <= perf_counter() - start_s < 0.9
        assert (served.error, served.sent_ns is None) == ("timeout", False)
        assert {(each.error, each.sent_ns, each.detail) for each in others} == {
            ("timeout", None, "no connection was free for 0.4 s")
        }
        assert (asker.pool.sent_count, asker.pool.outstanding_count) == (1, 0)

    with ScriptedServer(Script(Reply(mode="hang"))) as server:
        converse(Endpoint((server.url,), max_connections=1, timeouts=Timeouts(connect_s=0.1, total_s=0.4)), talk)


def test_whatever_goes_wrong_with_a_connection_costs_one_request(
    converse: Converse, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts = []

    async def connect(*_: object) -> None:
        attempts.append(1)
        raise NotImplementedError

    async def talk(asker: Asker) -> None:
        monkeypatch.setattr(asker.pool._route, "connect", connect)
        done = await asyncio.gather(asker.submit(), asker.submit())
        assert [(each.error, each.detail) for each in done] == [("connect", "NotImplementedError")] * 2

    converse(Endpoint((f"http://127.0.0.1:{closed_port()}",)), talk)
    assert len(attempts) == 2


def test_a_cut_keeps_the_connections_that_carry_nothing(converse: Converse) -> None:
    async def talk(asker: Asker) -> None:
        await asyncio.gather(asker.submit(), asker.submit())
        hung = asker.submit(b"GET /hang HTTP/1.1\r\n\r\n")
        asker.transport.abort()
        assert (await hung).error == "timeout"
        assert (await asker.ask()).reused
        assert (asker.transport.opened_count, asker.transport.closed_idle_count) == (2, 0)

    with ScriptedServer(Script(delay_s=0.02, paths={"/hang": Reply(mode="hang")})) as server:
        converse(Endpoint((server.url,)), talk)


def test_a_kept_connection_closed_by_the_server_is_no_error(converse: Converse) -> None:
    async def talk(asker: Asker) -> None:
        await asker.ask()
        server.close_connections()
        while asker.pool._idle_connections:
            await asyncio.sleep(0)
        done = await asker.ask()
        assert (done.error, done.reused) == (None, False)

    with ScriptedServer(Script()) as server:
        converse(Endpoint((server.url,)), talk)


def test_a_close_that_has_arrived_but_was_not_yet_noticed_is_no_error(
    converse: Converse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "_LONG_IDLE_NS", 0)

    async def talk(asker: Asker) -> None:
        assert (await asker.ask()).error is None
        assert (await asker.ask()).reused
        (idle,) = asker.pool._idle_connections
        server.close_connections()
        assert idle._transport is not None
        poll = select.poll()
        poll.register(idle._transport.get_extra_info("socket").fileno(), select.POLLIN)
        assert poll.poll(5_000)  # the loop does not turn meanwhile
        done = await asker.ask()
        assert (done.error, done.reused) == (None, False)

    with ScriptedServer(Script()) as server:
        converse(Endpoint((server.url,)), talk)


def test_a_kept_connection_that_dies_under_a_request_is_an_error_and_sends_nothing_again(converse: Converse) -> None:
    async def talk(asker: Asker) -> None:
        await asker.ask()
        done = await asker.ask(b"GET /drop HTTP/1.1\r\n\r\n")
        assert (done.error, done.reused, done.status) == ("send", True, None)
        assert (await asker.ask()).error is None

    with ScriptedServer(Script(paths={"/drop": Reply(mode="drop")})) as server:
        converse(Endpoint((server.url,)), talk)
        assert [request.split()[1] for request in server.requests] == [b"/", b"/drop", b"/"]


def test_as_many_connections_are_opened_as_the_server_sees_and_no_more_than_were_wanted_at_once(
    converse: Converse,
) -> None:
    async def talk(asker: Asker) -> None:
        for together in (3, 1, 5, 2):
            await asyncio.gather(*(asker.submit() for _ in range(together)))
        assert asker.transport.opened_count == server.connection_count == 5
        assert asker.pool.outstanding_count == 0

    with ScriptedServer(Script(delay_s=0.02)) as server:
        converse(Endpoint((server.url,)), talk)


def test_a_connection_for_each_request_is_opened_once_for_each(converse: Converse) -> None:
    async def talk(asker: Asker) -> None:
        for together in (1, 4, 1, 1):
            done = await asyncio.gather(*(asker.submit() for _ in range(together)))
            assert not any(each.reused or each.error for each in done)
        assert asker.transport.opened_count == server.connection_count == 7

    with ScriptedServer(Script(Reply(mode="close-after"))) as server:
        converse(Endpoint((server.url,)), talk)


def test_who_asks_again_when_cut_holds_up_neither_the_cut_nor_the_close(converse: Converse) -> None:
    async def talk(asker: Asker) -> None:
        done: list[Exchange] = []

        def ask_again(exchange: Exchange) -> None:
            done.append(exchange)
            asker.transport.submit(Exchange(0, 0, 0, GET, again))

        again: Callable[[Exchange], None] = ask_again
        for _ in range(2):
            asker.transport.submit(Exchange(0, 0, 0, GET, again))
        asker.transport.abort()
        assert [each.error for each in done] == ["timeout"] * 2
        again = done.append

    with ScriptedServer(Script(Reply(mode="hang"))) as server:
        converse(Endpoint((server.url,), max_connections=1), talk)


def test_an_answer_too_large_is_bad_payload(converse: Converse) -> None:
    async def talk(asker: Asker) -> None:
        assert (await asker.ask()).error == "bad-payload"

    with ScriptedServer(Script(Reply(body=b"x" * (64 * 2**20 + 1)))) as server:
        converse(Endpoint((server.url,)), talk)


@pytest.mark.parametrize(("manner", "opened"), [("whole", 1), ("http-1.0", 2), ("close-after", 2)])
def test_a_head_request_has_no_body_and_keeps_its_connection(
    converse: Converse, manner: ReplyMode, opened: int
) -> None:
    async def talk(asker: Asker) -> None:
        for _ in range(2):
            done = await asker.ask(b"HEAD / HTTP/1.1\r\n\r\n", is_head=True)
            assert (done.error, done.status, done.body) == (None, 200, b"")
        assert asker.transport.opened_count == opened

    with ScriptedServer(Script(Reply(mode=manner))) as server:
        converse(Endpoint((server.url,)), talk)


def test_cut_ends_what_is_in_flight_and_what_waits(converse: Converse) -> None:
    async def talk(asker: Asker) -> None:
        sent, waiting = asker.submit(), asker.submit()
        while not server.requests:
            await asyncio.sleep(0)
        asker.transport.abort()
        assert (sent.result().error, waiting.result().error) == ("timeout", "timeout")
        assert sent.result().sent_ns is not None
        assert waiting.result().sent_ns is None

    with ScriptedServer(Script(Reply(mode="hang"))) as server:
        converse(Endpoint((server.url,), max_connections=1), talk)


def test_connections_that_only_a_stall_needed_are_closed_again(
    converse: Converse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("loadgen.transport.pool._MAX_UNUSED_NS", 200_000_000)

    async def talk(asker: Asker) -> None:
        asked = [asker.submit() for _ in range(100)]
        assert [done.error for done in await asyncio.gather(*asked)] == [None] * 100
        assert len(asker.pool.list_descriptors()) > 40
        async with asyncio.timeout(20):
            while len(asker.pool.list_descriptors()) > 32:
                assert (await asker.ask()).error is None
        assert asker.pool.outstanding_count == 0
        opened_count = asker.pool.opened_count
        assert [done.error for done in await asyncio.gather(*(asker.submit() for _ in range(32)))] == [None] * 32
        assert (asker.pool.opened_count, asker.pool.closed_idle_count) == (opened_count, 0)

    with ScriptedServer(Script(delay_s=0.3)) as server:
        converse(Endpoint((server.url,)), talk)
