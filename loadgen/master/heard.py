"""What workers say, as far as it can be what workers say. They are other machines' processes: nothing is taken for
granted but the token."""

from __future__ import annotations

import math
from collections.abc import Iterable

import msgspec

from loadgen.frames import report_of
from loadgen.plain import plain_line, plain_text
from loadgen.records import (
    ERROR_CLASSES,
    MOST_OF_A_SAMPLE,
    NOT_STARTED,
    Failed,
    FirstError,
    Hello,
    Joining,
    PreflightDone,
    Progress,
    Ready,
    Report,
    StageEnded,
)

_MOST_OF_A_REPORT = 2**20
_MOST_OF_A_NAME = 255
_MOST = 2**58
"""Of a number: nine years in nanoseconds. Some dozens of them still add up to what msgpack can say."""


def heard_report(body: bytes) -> Report:
    """With its sentences as they may be shown. Raises ValueError for what no worker says."""
    if len(body) > _MOST_OF_A_REPORT:
        raise ValueError(f"a report of {len(body)} bytes")
    try:
        report = report_of(body)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ValueError(f"no report ({type(error).__name__})") from error
    if isinstance(report, Joining | Ready):
        raise ValueError(f"said {type(report).__name__} out of turn")
    if isinstance(report, Hello) and not all(
        map(_is_name, (report.host, report.clock, report.pacing, report.event_loop))
    ):
        raise ValueError("said Hello in no words")
    if not all(map(_is_likely, _numbers(msgspec.structs.astuple(report)))):
        raise ValueError(f"said {type(report).__name__} with an impossible number")
    if isinstance(report, Failed | PreflightDone) and report.error not in (None, *ERROR_CLASSES):
        raise ValueError(f"said {type(report).__name__} of an unknown error")
    if isinstance(report, Progress | StageEnded) and not _are_first_errors(report.first_errors):
        raise ValueError(f"said {type(report).__name__} with errors that are none")
    return _readable(report)


def _readable(report: Report) -> Report:
    match report:
        case Failed(message=message, hint=hint):
            hint = None if hint is None else plain_text(hint)
            return msgspec.structs.replace(report, message=plain_text(message), hint=hint)
        case PreflightDone(detail=detail, notes=notes, hosts=hosts, headers=headers):
            notes, hosts = tuple(map(plain_text, notes)), tuple(map(plain_text, hosts))
            headers = tuple((plain_text(name), plain_text(value)) for name, value in headers)
            return msgspec.structs.replace(report, detail=plain_text(detail), notes=notes, hosts=hosts, headers=headers)
        case Progress(first_errors=told) | StageEnded(first_errors=told) if told:
            lines = tuple(msgspec.structs.replace(one, text=plain_line(one.text, MOST_OF_A_SAMPLE)) for one in told)
            return msgspec.structs.replace(report, first_errors=lines)
        case _:  # nothing else is sentences
            return report


def _are_first_errors(told: tuple[FirstError, ...]) -> bool:
    """One a class."""
    classes = {one.error for one in told}
    return len(classes) == len(told) and classes <= {*ERROR_CLASSES, NOT_STARTED}


def _is_name(text: str) -> bool:
    return 0 < len(text) <= _MOST_OF_A_NAME and text.isprintable()


def _is_likely(number: float) -> bool:
    return math.isfinite(number) and abs(number) <= _MOST


def _numbers(values: Iterable[object]) -> Iterable[float]:
    for value in values:
        if isinstance(value, int | float):
            yield value
        elif isinstance(value, tuple):
            yield from _numbers(value)
        elif isinstance(value, msgspec.Struct):
            yield from _numbers(msgspec.structs.astuple(value))
