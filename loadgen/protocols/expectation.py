"""Check responses against the conditions in a user's `expect` settings."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import msgspec

from loadgen.decoding import decode_json
from loadgen.protocols.prepared import RESPONSE_OK, CheckResponse, ResponseCheck, WorkloadError, classify_status
from loadgen.transport.exchange import Exchange
from loadgen.workloads import Expectation

MAX_SEARCHED_BYTES = 2**20
"""Number of bytes at the start of a body that are searched for a regular expression. The rest of
the body is ignored."""

_METHODS_WITH_CONTENT = ("GET", "POST")
NO_BODY_DETAIL = "the response has no body; if that is correct, set workload.expect.status to 200"
_BAD_OUTPUT, _BAD_PAYLOAD = ResponseCheck("bad-output"), ResponseCheck("bad-payload")


def check_http_status(exchange: Exchange) -> ResponseCheck:
    error = classify_status(exchange.status or 0)
    return RESPONSE_OK if error is None else ResponseCheck(error)


def check_http_response(exchange: Exchange) -> ResponseCheck:
    """Check the response to a GET or POST request without `expect`: the status must be 2xx, and a
    response with status 200 must have a body."""
    check = check_http_status(exchange)
    if check.error is None and is_empty(exchange):
        exchange.detail = NO_BODY_DETAIL
        return _BAD_OUTPUT
    return check


def is_empty(exchange: Exchange) -> bool:
    """Return True for a response with status 200 and no body. Other statuses, such as 204, may come
    without a body."""
    return not exchange.body and exchange.status == HTTPStatus.OK


def build_check(expect: Expectation | None, method: str = "GET") -> CheckResponse:
    """Build the response check for the user's `expect` settings and the method of the requests.
    Raises WorkloadError if the settings are invalid."""
    if expect is None or expect == Expectation():
        return check_http_response if method in _METHODS_WITH_CONTENT else check_http_status
    check_status = _build_status_check(frozenset(expect.statuses)) if expect.statuses else check_http_status
    is_expected = _build_body_test(expect)
    if is_expected is None:
        return check_status

    def check_both(exchange: Exchange) -> ResponseCheck:
        check = check_status(exchange)
        if check.error is not None:
            return check
        try:
            return RESPONSE_OK if is_expected(exchange.body) else _BAD_OUTPUT
        except msgspec.DecodeError:
            return _BAD_PAYLOAD

    return check_both


def _build_status_check(statuses: frozenset[int]) -> CheckResponse:
    def check(exchange: Exchange) -> ResponseCheck:
        status = exchange.status or 0
        return RESPONSE_OK if status in statuses else ResponseCheck(classify_status(status) or "bad-output")

    return check


_BodyTest = Callable[[bytes], bool]


def _build_body_test(expect: Expectation) -> _BodyTest | None:
    """Build a function that returns True if a response body meets the user's `expect` settings.
    Return None if the settings do not concern the body.

    The function raises msgspec.DecodeError if the body must be JSON but is not.
    """
    if expect.pointer is None and expect.equals is None and expect.matches is None:
        return None
    pointer_tokens = None if expect.pointer is None else _parse_pointer(expect.pointer)
    has_expected_value = expect.equals is not None
    expected_value = None if expect.equals is None else _decode_expected_value(expect.equals)
    has_match = None if expect.matches is None else build_searcher(expect.matches)

    def is_expected(body: bytes) -> bool:
        value = (
            None
            if pointer_tokens is None and not has_expected_value
            else _resolve_pointer(decode_json(body), pointer_tokens or [])
        )
        if value is _MISSING or (has_expected_value and not _is_equal(value, expected_value)):
            return False
        return has_match is None or has_match(body if pointer_tokens is None else _to_searchable_bytes(value))

    return is_expected


def _to_searchable_bytes(value: Any) -> bytes:
    return value.encode() if isinstance(value, str) else msgspec.json.encode(value)


def _decode_expected_value(equals: bytes) -> Any:
    try:
        return decode_json(equals)
    except msgspec.DecodeError as error:
        raise WorkloadError(f"the expected response is not valid JSON: {error}") from error


def _is_equal(value: Any, other: Any) -> bool:
    """Return True if two JSON values are equal. 1 equals 1.0; unlike in Python, true does not equal
    1."""
    if isinstance(value, bool) or isinstance(other, bool):
        return value is other
    if isinstance(value, dict) and isinstance(other, dict):
        return value.keys() == other.keys() and all(_is_equal(member, other[key]) for key, member in value.items())
    if isinstance(value, list) and isinstance(other, list):
        return len(value) == len(other) and all(map(_is_equal, value, other))
    return bool(value == other)


_MISSING = object()


def _parse_pointer(pointer: str) -> list[str]:
    if pointer and not pointer.startswith("/"):
        raise WorkloadError(f"the JSON pointer {pointer!r} must start with /")
    return [token.replace("~1", "/").replace("~0", "~") for token in pointer.split("/")[1:]]


def _resolve_pointer(value: Any, pointer_tokens: list[str]) -> Any:
    for token in pointer_tokens:
        if isinstance(value, dict) and token in value:
            value = value[token]
        elif isinstance(value, list) and token.isascii() and token.isdigit() and _is_index(token, len(value)):
            value = value[int(token)]
        else:
            return _MISSING
    return value


def _is_index(token: str, length: int) -> bool:
    return (token == "0" or token[0] != "0") and len(token) < 10 and int(token) < length


def build_searcher(pattern: str) -> _BodyTest:
    """Build a function that searches a body for a regular expression in linear time, with RE2 (part
    of Arrow). Raises WorkloadError if the expression is invalid."""
    # Import Arrow only here: the import is slow, and few expectations need it.
    import pyarrow as pa
    import pyarrow.compute as pc

    options = pc.MatchSubstringOptions(pattern)

    def has_match(text: bytes) -> bool:
        searched_text = text[:MAX_SEARCHED_BYTES].decode(errors="replace")
        return bool(pc.match_substring_regex(pa.array([searched_text]), options=options)[0].as_py())

    try:
        has_match(b"")
    except pa.ArrowInvalid as error:
        raise WorkloadError(
            f"the regular expression is invalid: {error}", hint="RE2 does not support look-around or back-references."
        ) from error
    return has_match
