from __future__ import annotations

from datetime import datetime

import msgspec

from app.gui.run.work_view import WorkView, build_tiles, format_start_summary, group_unrunnable_variants
from app.records.planned_work import ImpossibleVariant, PlannedSearch, PlannedWork

NOON = datetime(2026, 11, 27, 12, 0)  # noqa: DTZ001 - the window's clock is local
WORK = PlannedWork(stages=2, duration_s=60, max_duration_s=600, requests=1200, usd_reason="no price")


def tiles(work: PlannedWork) -> dict[str, tuple[str, str]]:
    return {one.name: (one.value, one.detail) for one in build_tiles(work, NOON)}


def test_time_says_until_when_and_what_cuts_it() -> None:
    assert tiles(WORK)["Duration"][1].endswith("(until 12:10)")
    assert tiles(WORK)["Limits"] == ("none", "")
    cut = msgspec.structs.replace(WORK, limits=("30s", "$5"), cut_after="limits.duration ends the run after 30s")
    assert tiles(cut)["Limits"] == ("30s, $5", "limits.duration ends the run after 30s")


def test_money_is_reported_where_a_price_is_known() -> None:
    assert tiles(WORK)["Cost"] == ("n/a", "no price")
    assert tiles(msgspec.structs.replace(WORK, usd=(1.5, 20.0)))["Cost"] == ("$1.50", "at most $20.00")


def test_a_search_is_a_range_that_depends_on_the_answer() -> None:
    search = PlannedSearch(probes=(13, 23), duration_s=(60, 90), requests=(100, 9000), assumed_per_s=(10, 2500))
    work = msgspec.structs.replace(WORK, stages=0, requests=0.0, search=search, tokens_in=0.0, tokens_out=0.0)
    reported = tiles(work)
    assert reported["Work"] == ("13 to 23 probes", "search")
    assert reported["Requests"][0] == "100 to 9,000"
    assert reported["Tokens"] == ("n/a", "depends on the max rate")
    assert format_start_summary(WorkView(work, target="http://x")).startswith(
        "The run sends 100 to 9,000 requests to http://x, "
    )


def test_clients_send_as_much_as_is_answered() -> None:
    work = msgspec.structs.replace(WORK, requests=0.0, closed_stages=1, tokens_in=0.0, tokens_out=0.0)
    assert tiles(work)["Requests"][0] == "n/a"
    assert tiles(work)["Tokens"] == ("n/a", "depends on the number of requests")
    assert "requests in a closed loop" in format_start_summary(WorkView(work))


def test_impossible_cells_are_reported_by_their_reasons() -> None:
    same = tuple(ImpossibleVariant(cell=f"c{at}", reason="r", hint="target.batch") for at in range(40))
    other = ImpossibleVariant(cell="d", reason="q", hint="target.model")
    assert group_unrunnable_variants((*same, other)) == (
        ("40 variants", "r (target.batch): such as c0"),
        ("1 variant", "q (target.model): d"),
    )
    many = tuple(msgspec.structs.replace(other, reason=f"q{at}") for at in range(9))
    assert group_unrunnable_variants(many)[-1] == ("Other variants", "3 more reasons")
