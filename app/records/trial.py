"""What came of one request, sent to see whether a target answers as a profile wants it.

How a command failed, for the program that started it.
"""

from __future__ import annotations

from typing import Literal

import msgspec

Problem = Literal[
    "dns", "connect", "tls", "unauthorised", "forbidden", "not found", "refused", "busy", "server error", "timeout",
    "cut off", "wrong answer", "not streaming", "local limit",
]  # fmt: skip


class TlsFacts(msgspec.Struct, frozen=True, kw_only=True):
    """Names and date are None where the certificate is not verified, for then it is not read either."""

    version: str
    cipher: str
    subject: str | None = None
    issuer: str | None = None
    valid_until: str | None = None


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """`remedy` is what to do about the `problem`. Headers are name and value, without secrets; times are from the send.

    `is_measurable`: a run would begin; it may still have a problem that it would only note, such as an answer at once
    where a stream was asked for.
    """

    url: str
    protocol: str
    model: str | None
    is_measurable: bool
    problem: Problem | None
    what: str
    remedy: str | None
    status: int | None = None
    wants_stream: bool = False
    first_byte_ms: float | None = None
    first_token_ms: float | None = None
    total_ms: float | None = None
    tokens_out: int | None = None
    bytes_received: int | None = None
    tls: TlsFacts | None = None
    asked_headers: tuple[tuple[str, str], ...] = ()
    answer_headers: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()


class Failure(msgspec.Struct, frozen=True, tag="failure"):
    """With `--error-json` the last line on standard error, as JSON."""

    exit_code: int
    message: str
    hint: str | None = None
