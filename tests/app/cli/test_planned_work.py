from __future__ import annotations

import msgspec

from app.cli.planned_work import format_search_estimate, format_work
from app.records.planned_work import PlannedSearch, PlannedWork


def test_planned_work_line_has_stages_requests_tokens_and_cost() -> None:
    work = PlannedWork(stages=1, duration_s=42, max_duration_s=90, requests=400.4, closed_stages=1, tokens_in=1234.5,
                       usd=(0.5, 1.25), cut_after="limits.duration ends the run after 30s")  # fmt: skip
    assert format_work(work).replace("\u202f", " ") == (
        "1 stage; about 42.0 s, at most 1 min 30 s; 400 requests expected plus those of closed-loop stages; 1,234 "
        "input tokens, n/a output tokens; $0.500, at most $1.25; limits.duration ends the run after 30s"
    )


def test_planned_rate_search_has_probes_and_assumed_max_rate() -> None:
    search = PlannedSearch(probes=(13, 23), duration_s=(1, 2), requests=(100, 9000), assumed_per_s=(10, 2500))
    work = PlannedWork(stages=0, duration_s=1, max_duration_s=2, search=search)
    line = format_work(work)
    assert line.startswith("a search of 13 to 23 probes; ")
    assert line.endswith("the search sends 100 to 9,000 requests if the max rate is between 10.0 and 2,500 req/s")
    assert format_work(msgspec.structs.replace(work, stages=2)).startswith("2 stages and a search of 13")


def test_search_estimate_does_not_exceed_its_time_limit() -> None:
    search = PlannedSearch(probes=(13, 23), duration_s=(90, 301), requests=(1, 2), assumed_per_s=(10, 2500))
    line = format_search_estimate(search, 300).replace("\u202f", " ")
    assert "1 min 30 s to 5 min 0 s for" in line
    assert line.endswith("5 min 0 s at most")
    assert "5 min 1 s" in format_search_estimate(search, None).replace("\u202f", " ")


def test_planned_work_lists_limits_that_do_not_cut_the_run() -> None:
    work = PlannedWork(stages=1, duration_s=1, max_duration_s=2, limits=("10m", "$5"))
    assert format_work(work).endswith("; limited to 10m, $5")


def test_planned_work_of_a_grid_has_variants_and_stages() -> None:
    assert format_work(PlannedWork(stages=6, duration_s=1, max_duration_s=2, variants=3)).startswith(
        "3 variants, 6 stages; "
    )
