import asyncio
from collections import Counter
from pathlib import Path

import pytest

from loadgen.records import Balance, Endpoint, Tls
from loadgen.reference.scripted import Reply, Script, ScriptedServer
from loadgen.transport.address import EndpointError
from loadgen.transport.http_transport import create_http_transport
from tests.fakes.http_client import HttpClient, RunHttpClient


def test_replicas_share_requests_with_their_own_host_header(run_http_client: RunHttpClient) -> None:
    async def send_requests(client: HttpClient) -> None:
        for turn in range(4):
            exchange = await client.request(f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{first_server.port}\r\n\r\n".encode())
            assert (exchange.error, exchange.target) == (None, turn % 2)
        assert (client.transport.opened_count, client.transport.sent_count) == (2, 4)

    with ScriptedServer(Script()) as first_server, ScriptedServer(Script()) as second_server:
        run_http_client(Endpoint((first_server.url, second_server.url)), send_requests)
    for server in (first_server, second_server):
        assert server.requests == [f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n\r\n".encode()] * 2


def test_requests_to_unreachable_replica_fail_with_connect_error(run_http_client: RunHttpClient) -> None:
    async def send_requests(client: HttpClient) -> None:
        exchanges = [await client.request() for _ in range(6)]
        assert Counter((exchange.target, exchange.error) for exchange in exchanges) == {(0, None): 3, (1, "connect"): 3}

    with ScriptedServer(Script()) as server:
        run_http_client(Endpoint((server.url, "http://127.0.0.1:1")), send_requests)


@pytest.mark.parametrize("balance", ["least-outstanding", "power-of-two"])
def test_slow_replica_gets_fewer_requests(run_http_client: RunHttpClient, balance: Balance) -> None:
    async def send_requests(client: HttpClient) -> None:
        stuck = [client.submit() for _ in range(2)]
        exchanges = [await client.request() for _ in range(20)]
        assert {exchange.target for exchange in exchanges} == {0}
        client.transport.abort()
        assert [exchange.result().error for exchange in stuck].count("timeout") >= 1

    with ScriptedServer(Script()) as fast, ScriptedServer(Script(Reply(mode="hang"))) as slow:
        run_http_client(Endpoint((fast.url, slow.url), balance=balance), send_requests)


@pytest.mark.parametrize(
    ("endpoint", "message"),
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
def test_invalid_endpoint_is_rejected_without_repeating_secrets(endpoint: Endpoint, message: str) -> None:
    async def create() -> None:
        create_http_transport(asyncio.get_running_loop(), endpoint)

    with pytest.raises(EndpointError, match=message) as raised:
        asyncio.run(create())
    assert "secret" not in str(raised.value)


def test_unix_socket_ignores_proxy(run_http_client: RunHttpClient, tmp_path: Path) -> None:
    async def send_requests(client: HttpClient) -> None:
        assert (await client.request()).error == "connect"

    run_http_client(
        Endpoint(("http://h",), unix_socket=str(tmp_path / "s"), proxy="http://nowhere.invalid"), send_requests
    )
