import msgspec
import pytest

from loadgen.frames import encode_message
from loadgen.master.registration import decode_untrusted_report
from loadgen.records import (
    NOT_STARTED,
    WIRE_VERSION,
    Failed,
    FirstError,
    Hello,
    Joining,
    Pong,
    PreflightDone,
    Progress,
    Ready,
    Report,
    StageEnded,
    StageStarted,
    WorkerStageResult,
)

HELLO = Hello(WIRE_VERSION, "host", 1, "a clock", "timerfd", "uvloop")
PROGRESS = Progress(3, 10, 1, 1, 1, 0, None, 0.1)
ENDED = StageEnded(3, 10, 20, None, 0, 0.1, 1, False, ((0.0, 5.0),), (WorkerStageResult(0, "host", 1, 0.1, 2, 0.1),))


@pytest.mark.parametrize("report", [HELLO, PROGRESS, ENDED, Pong(1, -5), StageStarted(3, 2**57, None), Failed("no")])
def test_worker_reports_are_decoded(report: Report) -> None:
    assert decode_untrusted_report(encode_message(report)) == report


@pytest.mark.parametrize(
    "report",
    [
        Ready(1, "timerfd", "uvloop"),
        Joining("address", 1, 2),
        msgspec.structs.replace(PROGRESS, max_lag_ms=float("nan")),
        msgspec.structs.replace(PROGRESS, max_lag_ms=float("inf")),
        msgspec.structs.replace(PROGRESS, sent=2**62),
        msgspec.structs.replace(ENDED, rates=((0.0, float("nan")),)),
        msgspec.structs.replace(ENDED, workers=(WorkerStageResult(0, "host", 1, float("inf"), 2, 0.1),)),
        msgspec.structs.replace(HELLO, host=""),
        msgspec.structs.replace(HELLO, host="\x1b[31mred"),
        msgspec.structs.replace(HELLO, pacing="x" * 300),
        msgspec.structs.replace(HELLO, event_loop="two\nlines"),
        Failed("x" * 2**21),
        Failed("no", error="\x1b[31mred"),
        PreflightDone("no such class", None, "no", None),
        msgspec.structs.replace(PROGRESS, first_errors=(FirstError("no such class", 1, "no"),)),
        msgspec.structs.replace(PROGRESS, first_errors=(FirstError("dns", 1, "no"), FirstError("dns", 2, "no"))),
        msgspec.structs.replace(ENDED, first_errors=(FirstError("dns", 2**62, "no"),)),
    ],
)
def test_invalid_worker_reports_are_rejected(report: Report) -> None:
    with pytest.raises(ValueError, match=r"^sent (?!an invalid report)"):
        decode_untrusted_report(encode_message(report))


def test_control_characters_are_removed_from_text_of_worker() -> None:
    report = decode_untrusted_report(
        encode_message(Failed("no \x1b]0;file\x07", hint="see\nthe \x9b2J log", error="dns"))
    )
    assert report == Failed("no  ]0;file ", hint="see\nthe  2J log", error="dns")
    report = decode_untrusted_report(
        encode_message(PreflightDone(None, 200, "\x1b", 1.0, notes=("\x1b[m",), hosts=("a\rb",)))
    )
    assert report == PreflightDone(None, 200, " ", 1.0, notes=(" [m",), hosts=("a b",))


@pytest.mark.parametrize("body", [b"", b"\xc1", b"\x80", encode_message(HELLO)[:-3], b"\x91" * 5_000])
def test_undecodable_report_of_worker_is_rejected(body: bytes) -> None:
    with pytest.raises(ValueError, match="invalid report"):
        decode_untrusted_report(body)


def test_text_of_first_error_is_sanitized_and_truncated() -> None:
    first_errors = (
        FirstError("tls", 5, "a\x1b[2J\ncertificate" + "x" * 500),
        FirstError(NOT_STARTED, 6, "no\tconnection"),
    )
    for report in (PROGRESS, ENDED):
        received = decode_untrusted_report(encode_message(msgspec.structs.replace(report, first_errors=first_errors)))
        assert isinstance(received, Progress | StageEnded)
        first, second = received.first_errors
        assert (first.text[:17], len(first.text)) == ("a [2J certificate", 300)
        assert second == FirstError(NOT_STARTED, 6, "no connection")


def test_report_without_first_errors_is_decoded() -> None:
    """Workers of an earlier version send none."""
    fields = msgspec.msgpack.decode(encode_message(PROGRESS))
    del fields["first_errors"]
    assert decode_untrusted_report(msgspec.msgpack.encode(fields)) == PROGRESS
