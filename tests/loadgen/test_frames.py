import io

import pytest

from loadgen.frames import message_frame, read_command, read_report, rows_frame
from loadgen.records import (
    Configure,
    Endpoint,
    HttpWorkload,
    OipWorkload,
    Progress,
    Quit,
    RunStage,
    StagePlan,
    StopStage,
)
from loadgen.worker.reports import record_batch

ROW = (0, 1, 10, None, None, 20, None, "timeout", 0, False, None)


@pytest.mark.parametrize(
    "command",
    [
        Configure(Endpoint("http://h"), HttpWorkload(bodies=(b"\x00\xff", b""))),
        Configure(Endpoint("http://h", headers=(("A", "b"),)), OipWorkload("m", labels="y")),
        RunStage(StagePlan(1, "s", "poisson", 10, 1, 3)),
        StopStage(drain=True),
        Quit(),
    ],
)
def test_commands_come_out_as_they_went_in(command: object) -> None:
    assert read_command(io.BytesIO(message_frame(command))) == command


def test_reports_and_rows_share_a_stream_in_order() -> None:
    report = Progress(0, 1, 2, 3, 4, 5, 6, 0.5)
    stream = io.BytesIO(rows_frame(record_batch([ROW])) + message_frame(report))
    rows = read_report(stream)
    assert tuple(rows.to_pylist()[0].values()) == ROW
    assert read_report(stream) == report
    assert read_report(stream) is None


@pytest.mark.parametrize("cut_at", [1, 4, 8, -1])
def test_a_stream_cut_inside_a_frame_ends_there(cut_at: int) -> None:
    assert read_report(io.BytesIO(message_frame(Progress(0, 1, 2, 3, 4, 5, 6, 0.5))[:cut_at])) is None
