"""Result of a test request that checks whether a target responds as the profile requires, and the
machine-readable failure of a command."""

from __future__ import annotations

from typing import Literal

import msgspec

Problem = Literal[
    "dns", "connect", "tls", "unauthorized", "forbidden", "not found", "refused", "busy", "server error", "timeout",
    "truncated", "wrong response", "not streaming", "local limit",
]  # fmt: skip


class TlsInfo(msgspec.Struct, frozen=True, kw_only=True):
    """TLS connection data. `subject`, `issuer` and `valid_until` are None if the certificate is not
    verified, because it is then not parsed."""

    version: str
    cipher: str
    subject: str | None = None
    issuer: str | None = None
    valid_until: str | None = None


class ConnectionTest(msgspec.Struct, frozen=True, kw_only=True):
    """Result of a test request. `hint` states how to fix the `problem`. Headers are pairs of name
    and value with secrets redacted; times are measured from the send.

    `is_measurable` is true if a run would start. There may still be a problem that a run would only
    report in a note, such as a complete response instead of a requested stream.

    `served_models` are the models that the server lists, if the profile has the model name of a
    template; `model` is then the first of them, to which the request was sent.
    """

    url: str
    protocol: str
    model: str | None
    is_measurable: bool
    problem: Problem | None
    summary: str
    hint: str | None
    status: int | None = None
    wants_stream: bool = False
    first_byte_ms: float | None = None
    first_token_ms: float | None = None
    total_ms: float | None = None
    tokens_out: int | None = None
    bytes_received: int | None = None
    tls: TlsInfo | None = None
    request_headers: tuple[tuple[str, str], ...] = ()
    response_headers: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()
    served_models: tuple[str, ...] = ()


class Failure(msgspec.Struct, frozen=True, tag="failure"):
    """Failure of a command. With `--error-json`, the failure is written as JSON on the last line of
    standard error."""

    exit_code: int
    message: str
    hint: str | None = None
