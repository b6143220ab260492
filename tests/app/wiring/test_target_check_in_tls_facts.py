from __future__ import annotations

from pathlib import Path

from app.wiring.target_check import read_tls_parameters
from loadgen.records import Endpoint, Tls
from loadgen.reference.scripted import Script, ScriptedServer
from tests.fakes.certificates import self_signed, server_context


def test_names_are_reported_of_a_certificate_that_was_verified_alone(tmp_path: Path) -> None:
    certificate = self_signed(tmp_path / "own.pem")
    with ScriptedServer(Script(), server_context(certificate)) as server:
        verified = read_tls_parameters(Endpoint((server.url,), tls=Tls(ca_file=str(certificate))))
        unread = read_tls_parameters(Endpoint((server.url,), tls=Tls(verify=False)))
        untrusted = read_tls_parameters(Endpoint((server.url,)))
        assert not server.requests
    assert verified is not None
    assert (verified.issuer, bool(verified.valid_until)) == ("127.0.0.1", True)
    assert unread is not None
    assert (unread.issuer, unread.valid_until) == (None, None)
    assert untrusted is None


def test_nothing_is_asked_where_nothing_is_encrypted_or_something_stands_between() -> None:
    assert read_tls_parameters(Endpoint(("http://127.0.0.1:1",))) is None
    assert read_tls_parameters(Endpoint(("https://127.0.0.1:1",), proxy="http://127.0.0.1:2")) is None
    assert read_tls_parameters(Endpoint(("https://127.0.0.1:1",), unix_socket="/none")) is None
