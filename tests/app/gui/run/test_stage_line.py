from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from app.gui.run.stage_line import Stage, StageLine, build_stage_line, get_trace_key, move_handle, read_trace_rates
from app.profiles.problems import BadValueError

HERE = Path("/nowhere")
STEADY = {"rate": "10/s", "duration": "30s"}
RAMP = {"name": "up", "ramp": {"from": "0/s", "to": "50/s"}, "duration": "20s"}
SPIKE = {"name": "spike", "spike": {"base": "5/s", "peak": "50/s", "at": "10s", "for": "5s"}, "duration": "30s"}


def make_line(*stages: Stage) -> StageLine:
    return build_stage_line(stages, HERE, {})


def drag(stages: list[Stage], index: int, x: float, y: float) -> list[dict[str, Any]]:
    return move_handle(stages, make_line(*stages).handles[index], x, y)


def test_stages_follow_each_other_with_their_lead_in() -> None:
    stage_line = make_line(STEADY, {**RAMP, "lead_in": "5s"})
    assert [(stage.start_s, stage.end_s) for stage in stage_line.stages] == [(0, 30), (30, 55)]
    assert stage_line.stages[1].points == ((35, 0), (55, 50))
    assert stage_line.total_duration_s == 55


def test_closed_loop_stage_has_no_points_and_invalid_stage_has_a_problem() -> None:
    stage_line = make_line(
        {"name": "c", "concurrency": 4, "duration": "5s", "repeats": 3}, {"name": "bad", "rate": "x"}, {}
    )
    closed, invalid, empty = stage_line.stages
    assert (closed.label, closed.points) == ("c: 4 clients ×3", ())
    assert "'x' is not a rate" in str(invalid.problem)
    assert empty.problem is not None
    assert [handle.field for handle in stage_line.handles] == ["duration"]


def test_stage_handle_changes_rate_and_duration() -> None:
    (stage,) = drag([STEADY], 0, 41.26, 23.456)
    assert stage == {"rate": "23/s", "duration": "41s"}
    (stage,) = drag([STEADY], 0, 30.0, -5.0)
    assert stage == {"rate": "0.01/s", "duration": "30s"}
    assert STEADY == {"rate": "10/s", "duration": "30s"}


def test_ramp_stage_has_a_handle_at_each_end_and_a_positive_rate() -> None:
    stages = drag([STEADY, RAMP], 1, 99.0, 17.0)
    assert stages[1] == {**RAMP, "ramp": {"from": "17/s", "to": "50/s"}}
    assert drag([RAMP], 1, 20.0, 0.0) == [RAMP]


def test_spike_stage_has_time_for_its_backlog() -> None:
    assert drag([SPIKE], 0, 0.0, 123.4)[0]["spike"]["peak"] == "123/s"
    (stage,) = drag([SPIKE], 1, 3.0, 4.0)
    assert stage["spike"]["base"] == "4/s"
    assert stage["duration"] == "16s"
    assert make_line(stage).stages[0].problem is None


def test_stage_lasts_at_least_100_ms() -> None:
    assert drag([STEADY], 0, -50.0, 10.0)[0]["duration"] == "100ms"


def test_unread_trace_is_listed_until_its_rates_are_available(tmp_path: Path) -> None:
    file = tmp_path / "trace.csv"
    file.write_text("timestamp\n" + "".join(f"{at / 10}\n" for at in range(101)))
    stage = {"trace": "trace.csv", "speed": "2x", "superpose": 2}
    unread_line = build_stage_line([stage], tmp_path, {})
    key = get_trace_key(stage, tmp_path)
    assert key is not None
    assert unread_line.unread_traces == (key,)
    points = read_trace_rates(key)
    read_line = build_stage_line([stage], tmp_path, {key: points})
    assert read_line.unread_traces == ()
    assert read_line.total_duration_s == pytest.approx(5)
    rates = [rate for _, rate in read_line.stages[0].points]
    assert sum(rates) / len(rates) == pytest.approx(40, rel=0.05)


def test_invalid_trace_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("no numbers\n")
    with pytest.raises(BadValueError):
        read_trace_rates((str(tmp_path / "t.csv"), "1x", 1))
