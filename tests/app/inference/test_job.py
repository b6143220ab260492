from __future__ import annotations

import io

import msgspec
import pytest

from app.inference.job import (
    CallRows,
    Command,
    ComputeOutputs,
    Report,
    Score,
    VariantFailed,
    VariantMeasured,
    read_command,
    read_report,
    write_message,
)
from tests.fakes.callers import plan_of


def test_commands_and_reports_are_decoded_unchanged() -> None:
    stream = io.BytesIO()
    commands: list[Command] = [plan_of("server", rate_per_s=3.0), ComputeOutputs(rows=3), Score()]
    reports: list[Report] = [
        CallRows(b"\x00\xff" * 9),
        VariantMeasured(end_ns=1, half_width=None, peak_memory_bytes=2, fidelity=None),
        VariantFailed(message="it — failed", hint=None, exit_code=2),
    ]
    for message in (*commands, *reports):
        write_message(stream, message)
    stream.seek(0)
    assert [read_command(stream) for _ in commands] == commands
    assert [read_report(stream) for _ in reports] == reports
    assert read_report(stream) is None


@pytest.mark.parametrize("received_bytes", [0, 3, 4, 10])
def test_truncated_message_ends_the_stream(received_bytes: int) -> None:
    stream = io.BytesIO()
    write_message(stream, CallRows(b"rows and rows"))
    assert read_report(io.BytesIO(stream.getvalue()[:received_bytes])) is None


@pytest.mark.parametrize("content", [b"\x01\x00\x00\x00\xc1", b"a native library wrote this over it"])
def test_invalid_message_is_a_decode_error(content: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        read_report(io.BytesIO(content))
