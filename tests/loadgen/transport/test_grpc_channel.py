from pathlib import Path

import grpc
import pytest

from loadgen.records import Endpoint, Tls
from loadgen.transport.address import EndpointError
from tests.fakes.certificates import self_signed
from tests.fakes.grpc_client import GrpcClient, RunGrpcClient, closed_port, run_grpc_client_on
from tests.fakes.http_proxy import HttpProxy
from tests.fakes.open_inference import OpenInference


async def fail_if_called(_: GrpcClient) -> None:
    raise AssertionError("not reached")


@pytest.mark.parametrize("header", [("grpc-timeout", "1S"), ("a b", "x"), ("a", "é"), ("a", "x\ny")])
def test_header_that_is_invalid_as_metadata_is_rejected(header: tuple[str, str]) -> None:
    with pytest.raises(EndpointError, match="metadata"):
        run_grpc_client_on("asyncio", Endpoint(("grpc://h:1",), headers=(header,)), fail_if_called)


def test_grpc_call_uses_unix_socket(run_grpc_client: RunGrpcClient, tmp_path: Path) -> None:
    async def make_calls(client: GrpcClient) -> None:
        assert (await client.call()).error is None

    with OpenInference(unix_socket=str(tmp_path / "s")) as server:
        run_grpc_client(Endpoint(("grpc://model",), unix_socket=server.unix_socket), make_calls)


def credentials(certificate: Path, clients: Path | None = None) -> grpc.ServerCredentials:
    pem = certificate.read_bytes()
    roots = None if clients is None else clients.read_bytes()
    return grpc.ssl_server_credentials([(pem, pem)], roots, require_client_auth=clients is not None)


def test_server_certificate_is_verified_with_configured_ca(run_grpc_client: RunGrpcClient, tmp_path: Path) -> None:
    certificate, other_ca = self_signed(tmp_path / "server.pem"), self_signed(tmp_path / "other.pem")
    errors: list[str | None] = []

    async def make_calls(client: GrpcClient) -> None:
        errors.append((await client.call()).error)

    with OpenInference(credentials=credentials(certificate)) as server:
        for tls in (Tls(), Tls(ca_file=str(other_ca)), Tls(ca_file=str(certificate))):
            run_grpc_client(Endpoint((server.url,), tls=tls), make_calls)
    assert errors == ["tls", "tls", None]


def test_client_certificate_is_sent(run_grpc_client: RunGrpcClient, tmp_path: Path) -> None:
    certificate, client = self_signed(tmp_path / "server.pem"), self_signed(tmp_path / "client.pem")
    errors: list[str | None] = []

    async def make_calls(client: GrpcClient) -> None:
        errors.append((await client.call()).error)

    with OpenInference(credentials=credentials(certificate, client)) as server:
        for cert_file in (str(client), None):
            run_grpc_client(Endpoint((server.url,), tls=Tls(ca_file=str(certificate), cert_file=cert_file)), make_calls)
    assert errors[0] is None
    assert errors[1] in ("tls", "connect", "send")


@pytest.mark.parametrize(
    ("tls", "message"),
    [(Tls(verify=False), "always verifies"), (Tls(ca_file="/nowhere.pem"), "CA file")],
)
def test_unusable_tls_settings_are_rejected(tls: Tls, message: str) -> None:
    with pytest.raises(EndpointError, match=message):
        run_grpc_client_on("asyncio", Endpoint(("grpcs://h:1",), tls=tls), fail_if_called)


def test_grpc_call_is_tunneled_through_proxy(run_grpc_client: RunGrpcClient) -> None:
    async def make_calls(client: GrpcClient) -> None:
        assert (await client.call()).error is None

    with OpenInference() as server, HttpProxy("me:secret") as proxy:
        run_grpc_client(Endpoint((server.url,), proxy=f"http://me:secret@127.0.0.1:{proxy.port}"), make_calls)
        assert proxy.heads[0].startswith(f"CONNECT 127.0.0.1:{server.port}".encode())


def test_proxy_of_environment_is_ignored(run_grpc_client: RunGrpcClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{closed_port()}")
    monkeypatch.delenv("no_proxy", raising=False)

    async def make_calls(client: GrpcClient) -> None:
        assert (await client.call()).error is None

    with OpenInference() as server:
        run_grpc_client(Endpoint((server.url,)), make_calls)
