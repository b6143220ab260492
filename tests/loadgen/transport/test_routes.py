import asyncio
import socket
from pathlib import Path
from typing import cast

import pytest

from loadgen.records import Endpoint, Timeouts, Tls
from loadgen.reference.null import NullProtocol
from loadgen.reference.scripted import Script, ScriptedServer
from loadgen.transport.exchange import ResolveError
from loadgen.transport.http_transport import create_http_transport
from tests.fakes.certificates import self_signed, server_context
from tests.fakes.http_client import HttpClient, RunHttpClient
from tests.fakes.http_proxy import HttpProxy


def test_unix_socket_is_used_regardless_of_url_host(run_http_client: RunHttpClient, tmp_path: Path) -> None:
    path = str(tmp_path / "s")

    async def send_requests(client: HttpClient) -> None:
        exchange = await client.request()
        assert (exchange.error, exchange.sent_ns) == ("connect", exchange.queued_ns)
        server = await asyncio.get_running_loop().create_unix_server(NullProtocol, path)
        for is_reused in (False, True):
            exchange = await client.request()
            assert (exchange.error, exchange.status, exchange.body, exchange.reused) == (None, 200, b"{}", is_reused)
        server.close()

    run_http_client(Endpoint(("http://nowhere.invalid/v1",), unix_socket=path), send_requests)


def test_http_proxy_receives_absolute_urls(run_http_client: RunHttpClient) -> None:
    async def send_requests(client: HttpClient) -> None:
        for _ in range(2):
            exchange = await client.request(b"GET /a?b HTTP/1.1\r\nHost: h\r\n\r\n")
            assert (exchange.error, exchange.status, exchange.body) == (None, 200, b"{}")
        assert client.transport.opened_count == 1

    with ScriptedServer(Script()) as server, HttpProxy("me:p@ss word") as proxy:
        run_http_client(Endpoint((server.url,), proxy=f"http://me:p%40ss%20word@127.0.0.1:{proxy.port}"), send_requests)
        authority = f"127.0.0.1:{server.port}"
    assert proxy.heads[0].startswith(f"GET http://{authority}/a?b HTTP/1.1\r\nProxy-Authorization: Basic ".encode())
    assert proxy.heads[0].endswith(b"\r\nHost: h\r\n\r\n")


def test_tls_is_tunneled_through_proxy_without_disclosing_request(
    run_http_client: RunHttpClient, tmp_path: Path
) -> None:
    certificate = self_signed(tmp_path / "server.pem")

    async def send_requests(client: HttpClient) -> None:
        for _ in range(2):
            exchange = await client.request(b"GET /secret HTTP/1.1\r\nHost: h\r\n\r\n")
            assert (exchange.error, exchange.status, exchange.body) == (None, 200, b"{}")

    with ScriptedServer(Script(), tls=server_context(certificate)) as server, HttpProxy("me:secret") as proxy:
        endpoint = Endpoint(
            (server.url,), proxy=f"http://me:secret@127.0.0.1:{proxy.port}", tls=Tls(ca_file=str(certificate))
        )
        run_http_client(endpoint, send_requests)
        assert server.requests[0] == b"GET /secret HTTP/1.1\r\nHost: h\r\n\r\n"
        run_http_client(Endpoint((server.url,), proxy=endpoint.proxy), send_untrusted_request)
    assert proxy.heads[0].startswith(f"CONNECT 127.0.0.1:{server.port} HTTP/1.1\r\nHost: 127.0.0.1:".encode())


async def send_untrusted_request(client: HttpClient) -> None:
    exchange = await client.request()
    assert (exchange.error, exchange.detail) == ("tls", "the certificate is not trusted: self-signed certificate")


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_proxy_rejection_is_connect_error_without_password(run_http_client: RunHttpClient, scheme: str) -> None:
    details: list[str | None] = []

    async def send_requests(client: HttpClient) -> None:
        for _ in range(2):
            exchange = await client.request()
            assert exchange.error == "connect"
            details.append(exchange.detail)

    with HttpProxy("me:right") as proxy:
        run_http_client(
            Endpoint((f"{scheme}://127.0.0.1:9",), proxy=f"http://me:wrong@127.0.0.1:{proxy.port}"), send_requests
        )
    run_http_client(
        Endpoint((f"{scheme}://127.0.0.1:9",), proxy=f"http://me:wrong@127.0.0.1:{proxy.port}"), send_requests
    )
    expected_detail = f"the proxy 127.0.0.1:{proxy.port} failed: the CONNECT request was rejected with status 407"
    assert (
        details[:2] == [expected_detail if scheme == "https" else "the proxy rejected the request with status 407"] * 2
    )
    assert str(details[2]).startswith(f"the proxy 127.0.0.1:{proxy.port} failed: Connect")
    assert "wrong" not in str(details)


@pytest.mark.parametrize("response", [b"", b"SSH-2.0-x\r\n\r\n", b"x" * 100_000, b"HTTP/1.1 200"])
def test_invalid_proxy_response_is_connect_error(run_http_client: RunHttpClient, response: bytes) -> None:
    async def send_requests(client: HttpClient) -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: EarlySender(response), "127.0.0.1", port)
        exchange = await client.request()
        assert exchange.error == "connect"
        server.close()

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    endpoint = Endpoint(("https://127.0.0.1:9",), proxy=f"http://127.0.0.1:{port}", timeouts=Timeouts(connect_s=2))
    run_http_client(endpoint, send_requests)


class EarlySender(asyncio.Protocol):
    def __init__(self, data: bytes) -> None:
        self._data = data

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        stream = cast(asyncio.Transport, transport)  # uvloop's are no subclass of it
        stream.write(self._data)
        stream.close()


def test_unresolvable_proxy_is_named_in_error() -> None:
    async def resolve() -> None:
        endpoint = Endpoint(("http://127.0.0.1:9",), proxy="http://me:secret@nowhere.invalid:3128")
        transport = create_http_transport(asyncio.get_running_loop(), endpoint)
        try:
            await transport.resolve()
        finally:
            transport.close()

    with pytest.raises(ResolveError, match=r"the proxy nowhere\.invalid cannot") as raised:
        asyncio.run(resolve())
    assert "secret" not in str(raised.value)


def test_server_certificate_is_verified_unless_disabled(run_http_client: RunHttpClient, tmp_path: Path) -> None:
    certificate = self_signed(tmp_path / "server.pem")
    errors: list[str | None] = []

    async def send_requests(client: HttpClient) -> None:
        errors.append((await client.request()).error)

    with ScriptedServer(Script(), tls=server_context(certificate)) as server:
        for tls in (Tls(), Tls(verify=False), Tls(ca_file=str(certificate))):
            run_http_client(Endpoint((server.url,), tls=tls), send_requests)
    assert errors == ["tls", None, None]


def test_client_certificate_is_sent_on_request(run_http_client: RunHttpClient, tmp_path: Path) -> None:
    certificate, client = self_signed(tmp_path / "server.pem"), self_signed(tmp_path / "client.pem")
    errors: list[str | None] = []

    async def send_requests(client: HttpClient) -> None:
        errors.append((await client.request()).error)

    with ScriptedServer(Script(), tls=server_context(certificate, clients=client)) as server:
        for cert_file in (str(client), None):
            run_http_client(
                Endpoint((server.url,), tls=Tls(ca_file=str(certificate), cert_file=cert_file)), send_requests
            )
    assert errors[0] is None
    assert errors[1] in ("tls", "send")  # the server may close before its alert is sent


@pytest.mark.parametrize(
    ("scheme", "greeting", "error", "message"),
    [
        ("https", b"this is not TLS\r\n", "tls", "the server does not use TLS"),
        ("http", b"\0\0\x12\x04\0\0\0\0\0", None, "the server uses HTTP/2"),
    ],
)
def test_other_protocol_of_server_is_named_in_error(
    run_http_client: RunHttpClient, scheme: str, greeting: bytes, error: str | None, message: str
) -> None:
    async def send_requests(client: HttpClient) -> None:
        server = await asyncio.get_running_loop().create_server(lambda: EarlySender(greeting), "127.0.0.1", port)
        exchange = await client.request()
        # the greeting may be read before or after the request is sent
        assert exchange.error in ((error,) if error else ("connect", "bad-payload"))
        assert str(exchange.detail).startswith(message)
        server.close()

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    run_http_client(Endpoint((f"{scheme}://127.0.0.1:{port}",)), send_requests)
