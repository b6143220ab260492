"""Result of a test request that checks whether a target responds as a profile requires, and the machine-readable
failure of a command."""

from __future__ import annotations

from typing import Literal

import msgspec

Problem = Literal[
    "dns", "connect", "tls", "unauthorized", "forbidden", "not found", "refused", "busy", "server error", "timeout",
    "cut off", "wrong response", "not streaming", "local limit",
]  # fmt: skip


class TlsInfo(msgspec.Struct, frozen=True, kw_only=True):
    """TLS connection data. Names and date are None if the certificate is not verified, because it is then not read
    either."""

    version: str
    cipher: str
    subject: str | None = None
    issuer: str | None = None
    valid_until: str | None = None


class ConnectionTest(msgspec.Struct, frozen=True, kw_only=True):
    """Result of a test request. `hint` says how to fix the `problem`. Headers are name and value, without secrets;
    times count from the send.

    `is_measurable` is True if a run would start; it may still have a problem that a run would only note, such as a
    complete response instead of a requested stream.
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


class Failure(msgspec.Struct, frozen=True, tag="failure"):
    """Last line on standard error with `--error-json`, as JSON."""

    exit_code: int
    message: str
    hint: str | None = None
