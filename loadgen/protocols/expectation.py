"""Checks of responses against a user's expectation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from loadgen.decoding import decode_json
from loadgen.protocols.prepared import RESPONSE_OK, CheckResponse, ResponseCheck, WorkloadError, classify_status
from loadgen.transport.exchange import Exchange
from loadgen.workloads import Expectation

MAX_SEARCHED_BYTES = 2**20
"""Number of bytes at the start of a response in which a regular expression is searched."""

_BAD_OUTPUT, _BAD_PAYLOAD = ResponseCheck("bad-output"), ResponseCheck("bad-payload")


def judge_status(exchange: Exchange) -> ResponseCheck:
    error = classify_status(exchange.status or 0)
    return RESPONSE_OK if error is None else ResponseCheck(error)


def build_check(expect: Expectation | None) -> CheckResponse:
    """Return the response check for an expectation. Raises WorkloadError if the expectation itself is invalid."""
    if expect is None or expect == Expectation():
        return judge_status
    check_status = _status_check(frozenset(expect.statuses)) if expect.statuses else judge_status
    is_right = _body_test(expect)
    if is_right is None:
        return check_status

    def judge_both(exchange: Exchange) -> ResponseCheck:
        check = check_status(exchange)
        if check.error is not None:
            return check
        try:
            return RESPONSE_OK if is_right(exchange.body) else _BAD_OUTPUT
        except msgspec.DecodeError:
            return _BAD_PAYLOAD

    return judge_both


def _status_check(statuses: frozenset[int]) -> CheckResponse:
    def judge(exchange: Exchange) -> ResponseCheck:
        status = exchange.status or 0
        return RESPONSE_OK if status in statuses else ResponseCheck(classify_status(status) or "bad-output")

    return judge


_BodyTest = Callable[[bytes], bool]


def _body_test(expect: Expectation) -> _BodyTest | None:
    """Return the check of a body, or None if there is nothing to check.

    The check raises msgspec.DecodeError when the body should be JSON and is not.
    """
    if expect.pointer is None and expect.equals is None and expect.matches is None:
        return None
    steps = None if expect.pointer is None else _pointer_steps(expect.pointer)
    expected = None if expect.equals is None else (_decoded(expect.equals),)
    has_match = None if expect.matches is None else _searcher(expect.matches)

    def is_right(body: bytes) -> bool:
        value = None if steps is None and expected is None else _resolve_pointer(decode_json(body), steps or [])
        if value is _MISSING or (expected is not None and not _is_equal(value, expected[0])):
            return False
        return has_match is None or has_match(body if steps is None else _searchable(value))

    return is_right


def _searchable(value: Any) -> bytes:
    return value.encode() if isinstance(value, str) else msgspec.json.encode(value)


def _decoded(equals: bytes) -> Any:
    try:
        return decode_json(equals)
    except msgspec.DecodeError as error:
        raise WorkloadError(f"the expected response is not valid JSON: {error}") from error


def _is_equal(left: Any, right: Any) -> bool:
    """Compare JSON values: 1 equals 1.0, and neither equals true."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(_is_equal(value, right[key]) for key, value in left.items())
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(_is_equal, left, right))
    return bool(left == right)


_MISSING = object()


def _pointer_steps(pointer: str) -> list[str]:
    if pointer and not pointer.startswith("/"):
        raise WorkloadError(f"the JSON pointer {pointer!r} does not begin with /")
    return [step.replace("~1", "/").replace("~0", "~") for step in pointer.split("/")[1:]]


def _resolve_pointer(value: Any, steps: list[str]) -> Any:
    for step in steps:
        if isinstance(value, dict) and step in value:
            value = value[step]
        elif isinstance(value, list) and step.isascii() and step.isdigit() and _is_index(step, len(value)):
            value = value[int(step)]
        else:
            return _MISSING
    return value


def _is_index(step: str, length: int) -> bool:
    return (step == "0" or step[0] != "0") and len(step) < 10 and int(step) < length


def _searcher(pattern: str) -> _BodyTest:
    """Return a search with RE2, which is part of Arrow and takes time linear in the text for any pattern."""
    # slow to import, and few expectations need it
    import pyarrow as pa
    import pyarrow.compute as pc

    options = pc.MatchSubstringOptions(pattern)

    def has_match(text: bytes) -> bool:
        searched = text[:MAX_SEARCHED_BYTES].decode(errors="replace")
        return bool(pc.match_substring_regex(pa.array([searched]), options=options)[0].as_py())

    try:
        has_match(b"")
    except pa.ArrowInvalid as error:
        raise WorkloadError(
            f"invalid regular expression: {error}", hint="RE2 does not support look-around or back-references."
        ) from error
    return has_match
