"""What TLS needs to be told."""

from __future__ import annotations

import ssl

from loadgen.records import Tls
from loadgen.transport.address import EndpointError


class TlsFileError(EndpointError):
    """A file of certificates or keys cannot be used."""


def tls_context(tls: Tls) -> ssl.SSLContext:
    """Raises TlsFileError."""
    try:
        context = ssl.create_default_context(cafile=tls.ca_file)
    except OSError as error:
        raise TlsFileError(
            f"the file of trusted certificates, {tls.ca_file}, cannot be used: {_reason(error)}"
        ) from error
    context.set_alpn_protocols(["http/1.1"])
    if not tls.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if tls.cert_file is not None:
        try:
            # a password, though empty, keeps an encrypted key from asking for one at the terminal
            context.load_cert_chain(tls.cert_file, tls.key_file, password="")
        except (OSError, ValueError) as error:
            files = " or ".join(file for file in (tls.cert_file, tls.key_file) if file is not None)
            raise TlsFileError(f"the client's certificate or key, {files}, cannot be used: {_reason(error)}") from error
    return context


_WORDS = {
    "NO_APPLICATION_PROTOCOL": "the server does not speak HTTP/1.1 over TLS; HTTP/2 is not spoken here",
    "CERTIFICATE_REQUIRED": "the server wants a client certificate",
    "WRONG_VERSION_NUMBER": "what answers is not TLS; the URL of a server without it begins with http://",
}
_FILE_WORDS = {
    "KEY_VALUES_MISMATCH": "the key belongs to another certificate",
    "NO_CERTIFICATE_OR_CRL_FOUND": "it holds no certificate",
    "PEM lib": "there is no certificate in PEM and its key in PEM, without a password",
}


def tls_failure(error: ssl.SSLError) -> str:
    """Why the handshake failed, in words."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate is not trusted: {error.verify_message}"
    reason = error.reason or str(error)
    return next((words for part, words in _WORDS.items() if part in reason), reason)


def _reason(error: Exception) -> str:
    reason = str(getattr(error, "reason", None) or getattr(error, "strerror", None) or "it is not what it should be")
    return next((words for part, words in _FILE_WORDS.items() if part in reason), reason)
