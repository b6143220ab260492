from pathlib import Path

import grpc
import pytest

from loadgen.records import Endpoint, Tls
from loadgen.transport.address import EndpointError
from tests.fakes.certificates import self_signed
from tests.fakes.grpc_caller import Call, Caller, call_on, closed_port
from tests.fakes.http_proxy import HttpProxy
from tests.fakes.open_inference import OpenInference


async def nothing(_: Caller) -> None:
    raise AssertionError("not reached")


@pytest.mark.parametrize("header", [("grpc-timeout", "1S"), ("a b", "x"), ("a", "é"), ("a", "x\ny")])
def test_a_header_that_cannot_be_metadata_is_refused(header: tuple[str, str]) -> None:
    with pytest.raises(EndpointError, match="metadata"):
        call_on("asyncio", Endpoint(("grpc://h:1",), headers=(header,)), nothing)


def test_a_unix_socket(call: Call, tmp_path: Path) -> None:
    async def talk(caller: Caller) -> None:
        assert (await caller.ask()).error is None

    with OpenInference(unix_socket=str(tmp_path / "s")) as server:
        call(Endpoint(("grpc://model",), unix_socket=server.unix_socket), talk)


def credentials(certificate: Path, clients: Path | None = None) -> grpc.ServerCredentials:
    pem = certificate.read_bytes()
    roots = None if clients is None else clients.read_bytes()
    return grpc.ssl_server_credentials([(pem, pem)], roots, require_client_auth=clients is not None)


def test_tls_is_verified_with_the_authority_that_is_given(call: Call, tmp_path: Path) -> None:
    certificate, other = self_signed(tmp_path / "server.pem"), self_signed(tmp_path / "other.pem")
    seen: list[str | None] = []

    async def talk(caller: Caller) -> None:
        seen.append((await caller.ask()).error)

    with OpenInference(credentials=credentials(certificate)) as server:
        for tls in (Tls(), Tls(ca_file=str(other)), Tls(ca_file=str(certificate))):
            call(Endpoint((server.url,), tls=tls), talk)
    assert seen == ["tls", "tls", None]


def test_a_client_shows_its_certificate(call: Call, tmp_path: Path) -> None:
    certificate, client = self_signed(tmp_path / "server.pem"), self_signed(tmp_path / "client.pem")
    seen: list[str | None] = []

    async def talk(caller: Caller) -> None:
        seen.append((await caller.ask()).error)

    with OpenInference(credentials=credentials(certificate, client)) as server:
        for cert_file in (str(client), None):
            call(Endpoint((server.url,), tls=Tls(ca_file=str(certificate), cert_file=cert_file)), talk)
    assert seen[0] is None
    assert seen[1] in ("tls", "connect", "send")


@pytest.mark.parametrize(
    ("tls", "sentence"),
    [(Tls(verify=False), "always verifies"), (Tls(ca_file="/nowhere.pem"), "CA file")],
)
def test_tls_that_cannot_be_had_is_refused(tls: Tls, sentence: str) -> None:
    with pytest.raises(EndpointError, match=sentence):
        call_on("asyncio", Endpoint(("grpcs://h:1",), tls=tls), nothing)


def test_a_proxy_is_asked_for_a_tunnel(call: Call) -> None:
    async def talk(caller: Caller) -> None:
        assert (await caller.ask()).error is None

    with OpenInference() as server, HttpProxy("me:secret") as proxy:
        call(Endpoint((server.url,), proxy=f"http://me:secret@127.0.0.1:{proxy.port}"), talk)
        assert proxy.heads[0].startswith(f"CONNECT 127.0.0.1:{server.port}".encode())


def test_the_environments_proxy_is_not_looked_at(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{closed_port()}")
    monkeypatch.delenv("no_proxy", raising=False)

    async def talk(caller: Caller) -> None:
        assert (await caller.ask()).error is None

    with OpenInference() as server:
        call(Endpoint((server.url,)), talk)
