import ssl
from pathlib import Path

import msgspec
import pytest

from loadgen.records import Tls
from loadgen.transport.tls import TlsFileError, build_tls_context, describe_tls_failure
from tests.fakes.certificates import self_signed

NO_HTTP_2 = "HTTP/2 is not supported by Sizewise"


@pytest.mark.parametrize("content", [None, b"", b"secret"])
@pytest.mark.parametrize("field", ["ca_file", "cert_file"])
def test_invalid_certificate_file_is_named_with_its_purpose(tmp_path: Path, field: str, content: bytes | None) -> None:
    path = tmp_path / "file.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(TlsFileError) as raised:
        build_tls_context(msgspec.structs.replace(Tls(), **{field: str(path)}))
    expected = f"CA file {path} cannot" if field == "ca_file" else f"client certificate or key ({path}) cannot"
    assert expected in str(raised.value)
    assert " be used: " in str(raised.value)
    assert "_ssl.c" not in str(raised.value)
    assert "secret" not in str(raised.value)


def test_encrypted_key_is_error_without_password_prompt(tmp_path: Path) -> None:
    with pytest.raises(TlsFileError, match="client certificate or key"):
        build_tls_context(Tls(cert_file=str(self_signed(tmp_path / "client.pem", password=b"secret"))))


def test_key_of_other_certificate_is_rejected(tmp_path: Path) -> None:
    first, second = self_signed(tmp_path / "one.pem"), self_signed(tmp_path / "other.pem")
    build_tls_context(Tls(cert_file=str(first), key_file=str(first)))
    with pytest.raises(TlsFileError, match="the key does not match the certificate"):
        build_tls_context(Tls(cert_file=str(first), key_file=str(second)))


@pytest.mark.parametrize(
    ("reason", "message"),
    [
        (
            "TLSV1_ALERT_NO_APPLICATION_PROTOCOL",
            "the server does not support HTTP/1.1 over TLS, and HTTP/2 is not supported by Sizewise",
        ),
        ("TLSV13_ALERT_CERTIFICATE_REQUIRED", "the server requires a client certificate"),
        ("INTERNAL_ERROR", "INTERNAL_ERROR"),
    ],
)
def test_failed_handshake_is_described(reason: str, message: str) -> None:
    error = ssl.SSLError(1, "any")
    error.reason = reason
    assert describe_tls_failure(error) == message
