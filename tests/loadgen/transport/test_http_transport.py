import asyncio
from collections import Counter
from pathlib import Path

import pytest

from loadgen.records import Balance, Endpoint, Tls
from loadgen.reference.scripted import Reply, Script, ScriptedServer
from loadgen.transport.address import EndpointError
from loadgen.transport.http_transport import create_http_transport
from tests.fakes.asker import Asker, Converse


def test_replicas_share_the_requests_each_under_its_own_name(converse: Converse) -> None:
    async def talk(asker: Asker) -> None:
        for turn in range(4):
            done = await asker.ask(f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{one.port}\r\n\r\n".encode())
            assert (done.error, done.target) == (None, turn % 2)
        assert (asker.transport.opened_count, asker.transport.sent_count) == (2, 4)

    with ScriptedServer(Script()) as one, ScriptedServer(Script()) as other:
        converse(Endpoint((one.url, other.url)), talk)
    for server in (one, other):
        assert server.requests == [f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n\r\n".encode()] * 2


def test_a_replica_that_refuses_connections_fails_its_share(converse: Converse) -> None:
    async def talk(asker: Asker) -> None:
        done = [await asker.ask() for _ in range(6)]
        assert Counter((each.target, each.error) for each in done) == {(0, None): 3, (1, "connect"): 3}

    with ScriptedServer(Script()) as server:
        converse(Endpoint((server.url, "http://127.0.0.1:1")), talk)


@pytest.mark.parametrize("balance", ["least-outstanding", "power-of-two"])
def test_a_slow_replica_gets_less(converse: Converse, balance: Balance) -> None:
    async def talk(asker: Asker) -> None:
        stuck = [asker.submit() for _ in range(2)]
        done = [await asker.ask() for _ in range(20)]
        assert {each.target for each in done} == {0}
        asker.transport.abort()
        assert [each.result().error for each in stuck].count("timeout") >= 1

    with ScriptedServer(Script()) as fast, ScriptedServer(Script(Reply(mode="hang"))) as slow:
        converse(Endpoint((fast.url, slow.url), balance=balance), talk)


@pytest.mark.parametrize(
    ("endpoint", "words"),
    [
        (Endpoint(()), "no URL"),
        (Endpoint(("ftp://h",)), "http:// or https://"),
        (Endpoint(("http://a/x", "http://b/y")), "same path"),
        (Endpoint(("http://a", "http://b"), unix_socket="/s"), "Unix socket"),
        (Endpoint(("http://a",), unix_socket="/" + "s" * 200), "Unix socket"),
        (Endpoint(("http://a",), unix_socket="/\0"), "Unix socket"),
        (Endpoint(("http://a",), proxy="socks5://me:secret@h"), "proxy"),
        (Endpoint(("http://a", "https://b"), tls=Tls(ca_file="/nowhere")), "CA file"),
    ],
)
def test_an_endpoint_that_nothing_can_be_sent_to_is_refused_in_a_sentence(endpoint: Endpoint, words: str) -> None:
    async def attempt() -> None:
        create_http_transport(asyncio.get_running_loop(), endpoint)

    with pytest.raises(EndpointError, match=words) as refused:
        asyncio.run(attempt())
    assert "secret" not in str(refused.value)


def test_a_unix_socket_needs_no_proxy(converse: Converse, tmp_path: Path) -> None:
    async def talk(asker: Asker) -> None:
        assert (await asker.ask()).error == "connect"

    converse(Endpoint(("http://h",), unix_socket=str(tmp_path / "s"), proxy="http://nowhere.invalid"), talk)
