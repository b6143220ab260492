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
def test_a_file_that_holds_no_certificate_is_named_by_what_it_is_for(
    tmp_path: Path, field: str, content: bytes | None
) -> None:
    path = tmp_path / "file.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(TlsFileError) as refused:
        build_tls_context(msgspec.structs.replace(Tls(), **{field: str(path)}))
    said = f"CA file {path} cannot" if field == "ca_file" else f"client certificate or key ({path}) cannot"
    assert said in str(refused.value)
    assert " be used: " in str(refused.value)
    assert "_ssl.c" not in str(refused.value)
    assert "secret" not in str(refused.value)


def test_an_encrypted_key_is_an_error_and_no_question_at_the_terminal(tmp_path: Path) -> None:
    with pytest.raises(TlsFileError, match="client certificate or key"):
        build_tls_context(Tls(cert_file=str(self_signed(tmp_path / "client.pem", password=b"secret"))))


def test_a_key_of_another_certificate_is_an_error(tmp_path: Path) -> None:
    one, other = self_signed(tmp_path / "one.pem"), self_signed(tmp_path / "other.pem")
    build_tls_context(Tls(cert_file=str(one), key_file=str(one)))
    with pytest.raises(TlsFileError, match="the key does not match the certificate"):
        build_tls_context(Tls(cert_file=str(one), key_file=str(other)))


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        (
            "TLSV1_ALERT_NO_APPLICATION_PROTOCOL",
            "the server does not support HTTP/1.1 over TLS, and HTTP/2 is not supported by Sizewise",
        ),
        ("TLSV13_ALERT_CERTIFICATE_REQUIRED", "the server requires a client certificate"),
        ("INTERNAL_ERROR", "INTERNAL_ERROR"),
    ],
)
def test_a_failed_handshake_is_reported_in_words(reason: str, words: str) -> None:
    error = ssl.SSLError(1, "any")
    error.reason = reason
    assert describe_tls_failure(error) == words
