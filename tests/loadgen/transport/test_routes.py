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
from tests.fakes.asker import Asker, Converse
from tests.fakes.certificates import self_signed, server_context
from tests.fakes.http_proxy import HttpProxy


def test_a_unix_socket_is_connected_to_whatever_the_url_says(converse: Converse, tmp_path: Path) -> None:
    path = str(tmp_path / "s")

    async def talk(asker: Asker) -> None:
        done = await asker.ask()
        assert (done.error, done.sent_ns) == ("connect", done.queued_ns)
        server = await asyncio.get_running_loop().create_unix_server(NullProtocol, path)
        for is_reused in (False, True):
            done = await asker.ask()
            assert (done.error, done.status, done.body, done.reused) == (None, 200, b"{}", is_reused)
        server.close()

    converse(Endpoint(("http://nowhere.invalid/v1",), unix_socket=path), talk)


def test_a_proxy_is_asked_for_absolute_urls(converse: Converse) -> None:
    async def talk(asker: Asker) -> None:
        for _ in range(2):
            done = await asker.ask(b"GET /a?b HTTP/1.1\r\nHost: h\r\n\r\n")
            assert (done.error, done.status, done.body) == (None, 200, b"{}")
        assert asker.transport.opened_count == 1

    with ScriptedServer(Script()) as server, HttpProxy("me:p@ss word") as proxy:
        converse(Endpoint((server.url,), proxy=f"http://me:p%40ss%20word@127.0.0.1:{proxy.port}"), talk)
        authority = f"127.0.0.1:{server.port}"
    assert proxy.heads[0].startswith(f"GET http://{authority}/a?b HTTP/1.1\r\nProxy-Authorization: Basic ".encode())
    assert proxy.heads[0].endswith(b"\r\nHost: h\r\n\r\n")


def test_a_tunnel_through_a_proxy_carries_tls_and_reports_it_nothing(converse: Converse, tmp_path: Path) -> None:
    certificate = self_signed(tmp_path / "server.pem")

    async def talk(asker: Asker) -> None:
        for _ in range(2):
            done = await asker.ask(b"GET /secret HTTP/1.1\r\nHost: h\r\n\r\n")
            assert (done.error, done.status, done.body) == (None, 200, b"{}")

    with ScriptedServer(Script(), tls=server_context(certificate)) as server, HttpProxy("me:secret") as proxy:
        endpoint = Endpoint(
            (server.url,), proxy=f"http://me:secret@127.0.0.1:{proxy.port}", tls=Tls(ca_file=str(certificate))
        )
        converse(endpoint, talk)
        assert server.requests[0] == b"GET /secret HTTP/1.1\r\nHost: h\r\n\r\n"
        converse(Endpoint((server.url,), proxy=endpoint.proxy), talk_untrusting)
    assert proxy.heads[0].startswith(f"CONNECT 127.0.0.1:{server.port} HTTP/1.1\r\nHost: 127.0.0.1:".encode())


async def talk_untrusting(asker: Asker) -> None:
    done = await asker.ask()
    assert (done.error, done.detail) == ("tls", "the certificate is not trusted: self-signed certificate")


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_refuses_is_no_connection_and_its_password_is_not_shown(converse: Converse, scheme: str) -> None:
    seen: list[str | None] = []

    async def talk(asker: Asker) -> None:
        for _ in range(2):
            done = await asker.ask()
            assert done.error == "connect"
            seen.append(done.detail)

    with HttpProxy("me:right") as proxy:
        converse(Endpoint((f"{scheme}://127.0.0.1:9",), proxy=f"http://me:wrong@127.0.0.1:{proxy.port}"), talk)
    converse(Endpoint((f"{scheme}://127.0.0.1:9",), proxy=f"http://me:wrong@127.0.0.1:{proxy.port}"), talk)
    reported = f"the proxy 127.0.0.1:{proxy.port} failed: the CONNECT request was rejected with status 407"
    assert seen[:2] == [reported if scheme == "https" else "the proxy rejected the request with status 407"] * 2
    assert str(seen[2]).startswith(f"the proxy 127.0.0.1:{proxy.port} failed: Connect")
    assert "wrong" not in str(seen)


@pytest.mark.parametrize("answer", [b"", b"SSH-2.0-x\r\n\r\n", b"x" * 100_000, b"HTTP/1.1 200"])
def test_a_proxy_that_is_none_is_no_connection(converse: Converse, answer: bytes) -> None:
    async def talk(asker: Asker) -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: Blurt(answer), "127.0.0.1", port)
        done = await asker.ask()
        assert done.error == "connect"
        server.close()

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    endpoint = Endpoint(("https://127.0.0.1:9",), proxy=f"http://127.0.0.1:{port}", timeouts=Timeouts(connect_s=2))
    converse(endpoint, talk)


class Blurt(asyncio.Protocol):
    def __init__(self, answer: bytes) -> None:
        self._answer = answer

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        stream = cast(asyncio.Transport, transport)  # uvloop's are no subclass of it
        stream.write(self._answer)
        stream.close()


def test_a_proxy_without_an_address_is_said_to_be_the_proxy() -> None:
    async def resolve() -> None:
        endpoint = Endpoint(("http://127.0.0.1:9",), proxy="http://me:secret@nowhere.invalid:3128")
        transport = create_http_transport(asyncio.get_running_loop(), endpoint)
        try:
            await transport.resolve()
        finally:
            transport.close()

    with pytest.raises(ResolveError, match=r"the proxy nowhere\.invalid cannot") as refused:
        asyncio.run(resolve())
    assert "secret" not in str(refused.value)


def test_tls_is_verified_unless_reported_not_to_or_given_the_authority(converse: Converse, tmp_path: Path) -> None:
    certificate = self_signed(tmp_path / "server.pem")
    seen: list[str | None] = []

    async def talk(asker: Asker) -> None:
        seen.append((await asker.ask()).error)

    with ScriptedServer(Script(), tls=server_context(certificate)) as server:
        for tls in (Tls(), Tls(verify=False), Tls(ca_file=str(certificate))):
            converse(Endpoint((server.url,), tls=tls), talk)
    assert seen == ["tls", None, None]


def test_a_server_that_wants_to_know_its_clients_gets_the_certificate(converse: Converse, tmp_path: Path) -> None:
    certificate, client = self_signed(tmp_path / "server.pem"), self_signed(tmp_path / "client.pem")
    seen: list[str | None] = []

    async def talk(asker: Asker) -> None:
        seen.append((await asker.ask()).error)

    with ScriptedServer(Script(), tls=server_context(certificate, clients=client)) as server:
        for cert_file in (str(client), None):
            converse(Endpoint((server.url,), tls=Tls(ca_file=str(certificate), cert_file=cert_file)), talk)
    assert seen[0] is None
    assert seen[1] in ("tls", "send")  # this server closes before what it says of its reason is out


@pytest.mark.parametrize(
    ("scheme", "greeting", "error", "words"),
    [
        ("https", b"this is not TLS\r\n", "tls", "the server does not use TLS"),
        ("http", b"\0\0\x12\x04\0\0\0\0\0", None, "the server uses HTTP/2"),
    ],
)
def test_a_server_that_speaks_something_else_first_is_named(
    converse: Converse, scheme: str, greeting: bytes, error: str | None, words: str
) -> None:
    async def talk(asker: Asker) -> None:
        server = await asyncio.get_running_loop().create_server(lambda: Blurt(greeting), "127.0.0.1", port)
        done = await asker.ask()
        # what comes with the connection may be read before there is a request, or after
        assert done.error in ((error,) if error else ("connect", "bad-payload"))
        assert str(done.detail).startswith(words)
        server.close()

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    converse(Endpoint((f"{scheme}://127.0.0.1:{port}",)), talk)
