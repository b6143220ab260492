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


def line(*stages: Stage) -> StageLine:
    return build_stage_line(stages, HERE, {})


def dragged(stages: list[Stage], index: int, x: float, y: float) -> list[dict[str, Any]]:
    return move_handle(stages, line(*stages).handles[index], x, y)


def test_stages_follow_each_other_with_their_lead_in() -> None:
    drawn = line(STEADY, {**RAMP, "lead_in": "5s"})
    assert [(one.start_s, one.end_s) for one in drawn.stages] == [(0, 30), (30, 55)]
    assert drawn.stages[1].points == ((35, 0), (55, 50))
    assert drawn.total_duration_s == 55


def test_what_has_no_rate_is_drawn_by_its_time_and_what_is_wrong_says_why() -> None:
    drawn = line({"name": "c", "concurrency": 4, "duration": "5s", "repeats": 3}, {"name": "bad", "rate": "x"}, {})
    closed, bad, empty = drawn.stages
    assert (closed.label, closed.points) == ("c: 4 clients ×3", ())
    assert "'x' is not a rate" in str(bad.problem)
    assert empty.problem is not None
    assert [one.field for one in drawn.handles] == ["duration"]


def test_a_rate_and_its_end_are_one_handle() -> None:
    (stage,) = dragged([STEADY], 0, 41.26, 23.456)
    assert stage == {"rate": "23/s", "duration": "41s"}
    (stage,) = dragged([STEADY], 0, 30.0, -5.0)
    assert stage == {"rate": "0.01/s", "duration": "30s"}
    assert STEADY == {"rate": "10/s", "duration": "30s"}


def test_a_ramp_has_a_handle_at_each_end_and_never_sends_nothing() -> None:
    stages = dragged([STEADY, RAMP], 1, 99.0, 17.0)
    assert stages[1] == {**RAMP, "ramp": {"from": "17/s", "to": "50/s"}}
    assert dragged([RAMP], 1, 20.0, 0.0) == [RAMP]


def test_a_spike_keeps_time_for_its_backlog() -> None:
    assert dragged([SPIKE], 0, 0.0, 123.4)[0]["spike"]["peak"] == "123/s"
    (stage,) = dragged([SPIKE], 1, 3.0, 4.0)
    assert stage["spike"]["base"] == "4/s"
    assert stage["duration"] == "16s"
    assert line(stage).stages[0].problem is None


def test_a_stage_never_gets_shorter_than_a_tenth_of_a_second() -> None:
    assert dragged([STEADY], 0, -50.0, 10.0)[0]["duration"] == "100ms"


def test_a_trace_is_missing_until_it_was_read(tmp_path: Path) -> None:
    file = tmp_path / "trace.csv"
    file.write_text("timestamp\n" + "".join(f"{at / 10}\n" for at in range(101)))
    stage = {"trace": "trace.csv", "speed": "2x", "superpose": 2}
    first = build_stage_line([stage], tmp_path, {})
    key = get_trace_key(stage, tmp_path)
    assert key is not None
    assert first.unread_traces == (key,)
    points = read_trace_rates(key)
    then = build_stage_line([stage], tmp_path, {key: points})
    assert then.unread_traces == ()
    assert then.total_duration_s == pytest.approx(5)
    rates = [rate for _, rate in then.stages[0].points]
    assert sum(rates) / len(rates) == pytest.approx(40, rel=0.05)


def test_what_is_no_trace_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("no numbers\n")
    with pytest.raises(BadValueError):
        read_trace_rates((str(tmp_path / "t.csv"), "1x", 1))
