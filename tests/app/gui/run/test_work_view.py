from __future__ import annotations

from datetime import datetime

import msgspec

from app.gui.run.work_view import WorkView, build_tiles, format_start_summary, group_unrunnable_variants
from app.records.planned_work import ImpossibleVariant, PlannedSearch, PlannedWork

NOON = datetime(2026, 11, 27, 12, 0)  # noqa: DTZ001 - the window's clock is local
WORK = PlannedWork(stages=2, duration_s=60, max_duration_s=600, requests=1200, usd_reason="no price")


def list_tiles(work: PlannedWork) -> dict[str, tuple[str, str]]:
    return {tile.name: (tile.value, tile.detail) for tile in build_tiles(work, NOON)}


def test_duration_tile_has_the_end_time_and_limits_tile_the_limit_in_effect() -> None:
    assert list_tiles(WORK)["Duration"][1].endswith("(until 12:10)")
    assert list_tiles(WORK)["Limits"] == ("none", "")
    limited = msgspec.structs.replace(WORK, limits=("30s", "$5"), cut_after="limits.duration ends the run after 30s")
    assert list_tiles(limited)["Limits"] == ("30s, $5", "limits.duration ends the run after 30s")


def test_cost_tile_is_na_without_a_price() -> None:
    assert list_tiles(WORK)["Cost"] == ("n/a", "no price")
    assert list_tiles(msgspec.structs.replace(WORK, usd=(1.5, 20.0)))["Cost"] == ("$1.50", "at most $20.00")


def test_work_of_a_search_is_a_range() -> None:
    search = PlannedSearch(probes=(13, 23), duration_s=(60, 90), requests=(100, 9000), assumed_per_s=(10, 2500))
    work = msgspec.structs.replace(WORK, stages=0, requests=0.0, search=search, tokens_in=0.0, tokens_out=0.0)
    search_tiles = list_tiles(work)
    assert search_tiles["Work"] == ("13 to 23 probes", "search")
    assert search_tiles["Requests"][0] == "100 to 9,000"
    assert search_tiles["Tokens"] == ("n/a", "depends on the max rate")
    assert format_start_summary(WorkView(work, target="http://x")).startswith(
        "The run sends 100 to 9,000 requests to http://x, "
    )


def test_requests_of_a_closed_loop_are_not_predicted() -> None:
    work = msgspec.structs.replace(WORK, requests=0.0, closed_stages=1, tokens_in=0.0, tokens_out=0.0)
    assert list_tiles(work)["Requests"][0] == "n/a"
    assert list_tiles(work)["Tokens"] == ("n/a", "depends on the number of requests")
    assert "requests in a closed loop" in format_start_summary(WorkView(work))


def test_unrunnable_variants_are_grouped_by_reason() -> None:
    same = tuple(ImpossibleVariant(cell=f"c{index}", reason="r", hint="target.batch") for index in range(40))
    other = ImpossibleVariant(cell="d", reason="q", hint="target.model")
    assert group_unrunnable_variants((*same, other)) == (
        ("40 variants", "r (target.batch): such as c0"),
        ("1 variant", "q (target.model): d"),
    )
    many = tuple(msgspec.structs.replace(other, reason=f"q{index}") for index in range(9))
    assert group_unrunnable_variants(many)[-1] == ("Other variants", "3 more reasons")
