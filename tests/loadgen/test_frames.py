import io

import pyarrow as pa
import pytest

from loadgen.frames import (
    ReportWriter,
    decode_command,
    decode_report,
    decode_rows,
    encode_message,
    encode_message_frame,
    encode_rows,
    encode_rows_frame,
    read_command,
    read_report,
)
from loadgen.records import (
    REQUEST_SCHEMA,
    ChangeRate,
    ClosedArrivals,
    Command,
    Configure,
    Endpoint,
    Gather,
    Join,
    OpenArrivals,
    Ping,
    Progress,
    Quit,
    RunStage,
    StageLoad,
    StagePlan,
    StartStage,
    StopStage,
    WorkerShare,
)
from loadgen.workloads import HttpWorkload, LocustWorkload, OipWorkload

ROW = dict.fromkeys(REQUEST_SCHEMA.names) | {
    "stage": 0,
    "index": 1,
    "end_ns": 20,
    "error": "timeout",
    "chunk_ns": [1, 2],
}


@pytest.mark.parametrize(
    "command",
    [
        Configure(Endpoint(("http://h",)), HttpWorkload(bodies=(b"\x00\xff", b""))),
        Configure(Endpoint(("http://h",), headers=(("A", "b"),)), OipWorkload("m", labels="y")),
        Configure(Endpoint(()), LocustWorkload("f.py", ("A", "B"))),
        RunStage(StagePlan(1, "s", StageLoad(OpenArrivals("gamma", ((0.0, 1.0), (2.0, 3.0)), 2.0), 10), 3)),
        RunStage(StagePlan(1, "s", StageLoad(ClosedArrivals(5, 0.1), 10, lead_in_s=2.0), 3)),
        RunStage(StagePlan(1, "s", StageLoad(ClosedArrivals(5), 10), 3), WorkerShare(2, 3)),
        StartStage(1, 2**62),
        ChangeRate(12.5, 2**62),
        Join("h", 5557, "token", capacity_per_s=1000.0),
        Gather(local_workers=2, remote_workers=1, host="h"),
        Ping(5),
        StopStage(drain=True),
        Quit(),
    ],
)
def test_commands_are_unchanged_by_encoding_and_decoding(command: Command) -> None:
    assert read_command(io.BytesIO(encode_message_frame(command))) == command


def test_messages_and_rows_are_unchanged_by_encoding_and_decoding() -> None:
    command, report = Quit(), Progress(0, 1, 2, 3, 4, 5, 6, 0.5)
    rows = pa.RecordBatch.from_pylist([ROW], REQUEST_SCHEMA)
    assert decode_command(encode_message(command)) == command
    assert decode_report(encode_message(report)) == report
    assert decode_rows(encode_rows(rows)).equals(rows)


def test_reports_and_rows_share_a_stream_in_order() -> None:
    report = Progress(0, 1, 2, 3, 4, 5, 6, 0.5)
    stream = io.BytesIO(
        encode_rows_frame(pa.RecordBatch.from_pylist([ROW], REQUEST_SCHEMA)) + encode_message_frame(report)
    )
    rows = read_report(stream)
    assert isinstance(rows, pa.RecordBatch)
    assert rows.to_pylist() == [ROW]
    assert read_report(stream) == report
    assert read_report(stream) is None


@pytest.mark.parametrize("cut_at", [1, 4, 8, -1])
def test_stream_ends_at_truncated_frame(cut_at: int) -> None:
    assert read_report(io.BytesIO(encode_message_frame(Progress(0, 1, 2, 3, 4, 5, 6, 0.5))[:cut_at])) is None


def test_reports_and_rows_are_written_to_pipe_immediately() -> None:
    pipe = io.BytesIO()
    reports = ReportWriter(pipe)
    reports.send(Progress(0, 1, 2, 3, 4, 5, 6, 0.5))
    reports.send_rows(pa.RecordBatch.from_pylist([ROW], REQUEST_SCHEMA))
    pipe.seek(0)
    assert isinstance(read_report(pipe), Progress)
    rows = read_report(pipe)
    assert isinstance(rows, pa.RecordBatch)
    assert rows.to_pylist() == [ROW]
