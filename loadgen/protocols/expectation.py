"""What a user says an answer must be, held against it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from loadgen.decoding import decode_json
from loadgen.protocols.built import AS_PROMISED, Judge, ResponseCheck, WorkloadError, status_error
from loadgen.transport.exchange import Exchange
from loadgen.workloads import Expectation

SEARCHED_BYTES = 2**20
"""A regular expression is searched in so much of an answer."""

_BAD_OUTPUT, _BAD_PAYLOAD = ResponseCheck("bad-output"), ResponseCheck("bad-payload")


def judge_status(exchange: Exchange) -> ResponseCheck:
    error = status_error(exchange.status or 0)
    return AS_PROMISED if error is None else ResponseCheck(error)


def judge_of(expect: Expectation | None) -> Judge:
    """Raises WorkloadError when the expectation itself cannot be read."""
    if expect is None or expect == Expectation():
        return judge_status
    judge = _by_status(frozenset(expect.statuses)) if expect.statuses else judge_status
    is_right = _body_test(expect)
    if is_right is None:
        return judge

    def judge_both(exchange: Exchange) -> ResponseCheck:
        judgement = judge(exchange)
        if judgement.error is not None:
            return judgement
        try:
            return AS_PROMISED if is_right(exchange.body) else _BAD_OUTPUT
        except msgspec.DecodeError:
            return _BAD_PAYLOAD

    return judge_both


def _by_status(statuses: frozenset[int]) -> Judge:
    def judge(exchange: Exchange) -> ResponseCheck:
        status = exchange.status or 0
        return AS_PROMISED if status in statuses else ResponseCheck(status_error(status) or "bad-output")

    return judge


_Test = Callable[[bytes], bool]


def _body_test(expect: Expectation) -> _Test | None:
    """It raises when the body is not the JSON that it has to be."""
    if expect.pointer is None and expect.equals is None and expect.matches is None:
        return None
    steps = None if expect.pointer is None else _steps(expect.pointer)
    wanted = None if expect.equals is None else (_decoded(expect.equals),)
    has_match = None if expect.matches is None else _searcher(expect.matches)

    def is_right(body: bytes) -> bool:
        value = None if steps is None and wanted is None else _led_to(decode_json(body), steps or [])
        if value is _NOWHERE or (wanted is not None and not _same(value, wanted[0])):
            return False
        return has_match is None or has_match(body if steps is None else _searched(value))

    return is_right


def _searched(value: Any) -> bytes:
    return value.encode() if isinstance(value, str) else msgspec.json.encode(value)


def _decoded(equals: bytes) -> Any:
    try:
        return decode_json(equals)
    except msgspec.DecodeError as error:
        raise WorkloadError(f"what the answer should equal is not JSON: {error}") from error


def _same(one: Any, other: Any) -> bool:
    """As JSON has it: 1 is 1.0, and neither is true."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(value, other[key]) for key, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other)


_NOWHERE = object()


def _steps(pointer: str) -> list[str]:
    if pointer and not pointer.startswith("/"):
        raise WorkloadError(f"the JSON pointer {pointer!r} does not begin with /")
    return [step.replace("~1", "/").replace("~0", "~") for step in pointer.split("/")[1:]]


def _led_to(value: Any, steps: list[str]) -> Any:
    for step in steps:
        if isinstance(value, dict) and step in value:
            value = value[step]
        elif isinstance(value, list) and step.isascii() and step.isdigit() and _is_index(step, len(value)):
            value = value[int(step)]
        else:
            return _NOWHERE
    return value


def _is_index(step: str, length: int) -> bool:
    return (step == "0" or step[0] != "0") and len(step) < 10 and int(step) < length


def _searcher(pattern: str) -> _Test:
    """By RE2, which Arrow brings along: its time is linear in the text, whatever the pattern."""
    # slow to import, and few expectations need it
    import pyarrow as pa
    import pyarrow.compute as pc

    options = pc.MatchSubstringOptions(pattern)

    def has_match(text: bytes) -> bool:
        searched = text[:SEARCHED_BYTES].decode(errors="replace")
        return bool(pc.match_substring_regex(pa.array([searched]), options=options)[0].as_py())

    try:
        has_match(b"")
    except pa.ArrowInvalid as error:
        raise WorkloadError(
            f"the regular expression cannot be used: {error}", hint="RE2 has neither look-around nor back-references"
        ) from error
    return has_match
