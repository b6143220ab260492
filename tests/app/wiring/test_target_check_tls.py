from __future__ import annotations

from pathlib import Path

from app.wiring.target_check import read_tls_parameters
from loadgen.records import Endpoint, Tls
from loadgen.reference.scripted import Script, ScriptedServer
from tests.fakes.certificates import self_signed, server_context


def test_certificate_names_are_reported_only_if_the_certificate_was_verified(tmp_path: Path) -> None:
    certificate = self_signed(tmp_path / "own.pem")
    with ScriptedServer(Script(), server_context(certificate)) as server:
        verified = read_tls_parameters(Endpoint((server.url,), tls=Tls(ca_file=str(certificate))))
        unverified = read_tls_parameters(Endpoint((server.url,), tls=Tls(verify=False)))
        untrusted = read_tls_parameters(Endpoint((server.url,)))
        assert not server.requests
    assert verified is not None
    assert (verified.issuer, bool(verified.valid_until)) == ("127.0.0.1", True)
    assert unverified is not None
    assert (unverified.issuer, unverified.valid_until) == (None, None)
    assert untrusted is None


def test_tls_parameters_are_none_for_plain_proxied_or_socket_connections() -> None:
    assert read_tls_parameters(Endpoint(("http://127.0.0.1:1",))) is None
    assert read_tls_parameters(Endpoint(("https://127.0.0.1:1",), proxy="http://127.0.0.1:2")) is None
    assert read_tls_parameters(Endpoint(("https://127.0.0.1:1",), unix_socket="/none")) is None
