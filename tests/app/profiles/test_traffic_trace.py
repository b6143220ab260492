from __future__ import annotations

from pathlib import Path

import pytest

from app.profiles.problems import BadValueError
from app.profiles.traffic_trace import facts_of_trace


def test_facts_are_of_what_the_file_holds_now(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    path.write_text("timestamp,input_tokens,output_tokens\n5,10,1\n6,20,2\n9,60,6\n")
    facts = facts_of_trace(path)
    assert (facts.count, facts.span_s, facts.mean_per_s) == (3, 4.0, 0.5)
    assert (facts.mean_input_tokens, facts.mean_output_tokens) == (30.0, 3.0)
    path.write_text("timestamp\n5\n7\n8\n15.00\n")
    again = facts_of_trace(path)
    assert (again.count, again.mean_input_tokens) == (4, None)


@pytest.mark.parametrize("text", ["timestamp\n5\n", "timestamp\n5\n5\n5\n"])
def test_requests_at_one_time_have_no_rate(tmp_path: Path, text: str) -> None:
    path = tmp_path / "trace.csv"
    path.write_text(text)
    with pytest.raises(BadValueError, match="two requests at different times"):
        facts_of_trace(path)


def test_a_trace_that_is_gone(tmp_path: Path) -> None:
    with pytest.raises(BadValueError, match="no such file"):
        facts_of_trace(tmp_path / "gone.csv")
