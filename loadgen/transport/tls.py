"""Build TLS contexts, and describe TLS errors."""

from __future__ import annotations

import ssl

from loadgen.records import Tls
from loadgen.regular_files import check_regular
from loadgen.transport.address import EndpointError

MAX_PEM_BYTES = 4 * 2**20
"""Maximum size of a file of certificates or keys. The CA files of operating systems have 200 KB."""


class TlsFileError(EndpointError):
    """Error that is raised when a certificate or key file cannot be used."""


def build_tls_context(tls: Tls) -> ssl.SSLContext:
    """Build the TLS context of a client from TLS settings. Raises TlsFileError if a certificate or
    key file is invalid."""
    try:
        if tls.ca_file is not None:
            check_regular(tls.ca_file, MAX_PEM_BYTES)
        context = ssl.create_default_context(cafile=tls.ca_file)
    except OSError as error:
        raise TlsFileError(f"the CA file {tls.ca_file} cannot be used: {_describe_file_error(error)}") from error
    context.set_alpn_protocols(["http/1.1"])
    if not tls.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if tls.cert_file is not None:
        try:
            for file in (tls.cert_file, tls.key_file):
                if file is not None:
                    check_regular(file, MAX_PEM_BYTES)
            # An empty password prevents OpenSSL from prompting for a password in the terminal.
            context.load_cert_chain(tls.cert_file, tls.key_file, password="")
        except (OSError, ValueError) as error:
            files_text = " or ".join(file for file in (tls.cert_file, tls.key_file) if file is not None)
            raise TlsFileError(
                f"the client certificate or key ({files_text}) cannot be used: {_describe_file_error(error)}"
            ) from error
    return context


_HANDSHAKE_TEXTS = {
    "NO_APPLICATION_PROTOCOL": "the server does not support HTTP/1.1 over TLS, and HTTP/2 is not supported by Sizewise",
    "CERTIFICATE_REQUIRED": "the server requires a client certificate",
    "WRONG_VERSION_NUMBER": "the server does not use TLS; use an http:// URL",
}
_FILE_TEXTS = {
    "KEY_VALUES_MISMATCH": "the key does not match the certificate",
    "NO_CERTIFICATE_OR_CRL_FOUND": "the file contains no certificate",
    "PEM lib": "a PEM certificate and its PEM key without a password are required",
}


def describe_tls_failure(error: ssl.SSLError) -> str:
    """Describe why a TLS handshake failed."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate is not trusted: {error.verify_message}"
    reason = error.reason or str(error)
    return next((text for code, text in _HANDSHAKE_TEXTS.items() if code in reason), reason)


def _describe_file_error(error: Exception) -> str:
    reason = str(getattr(error, "reason", None) or getattr(error, "strerror", None) or "the content is invalid")
    return next((text for code, text in _FILE_TEXTS.items() if code in reason), reason)
