from __future__ import annotations

from msgspec.structs import replace

from app.reporting.local_scenarios import scenario_rows
from tests.fakes.local_runs import stage, variant
from tests.fakes.searched_runs import ENDLESS, LATENCY, endless_stage, hopeless_run, searched_run


def test_of_a_search_the_answer_stands_first_and_what_was_tried_below_it() -> None:
    rows = scenario_rows([LATENCY], searched_run().result.stages)
    assert [(row.rate_per_s, row.tried) for row in rows] == [
        (None, None),
        (400.0, None),
        (200.0, "held"),
        (800.0, "did not hold"),
        (1600.0, "did not hold"),
    ]


def test_where_no_rate_held_none_is_the_answer() -> None:
    rows = scenario_rows([LATENCY], hopeless_run().result.stages)
    assert [row.tried for row in rows] == ["did not hold", "did not hold"]


def test_arrivals_that_were_never_begun_are_a_reason_to_doubt() -> None:
    endless = endless_stage(1600.0)
    (row,) = scenario_rows([LATENCY], [endless])
    assert (row.trust, row.reasons) == ("WARN", (ENDLESS,))
    (asked,) = scenario_rows([LATENCY], [replace(endless, tags={"scenario": "server"})])
    assert (asked.tried, asked.trust, asked.reasons) == (None, "WARN", (ENDLESS,))


def test_rates_that_a_user_asked_for_are_not_tried_ones() -> None:
    (row,) = scenario_rows([LATENCY], [stage(variant(), "server", 20.0)])
    assert (row.tried, row.trust) == (None, "VALID")
