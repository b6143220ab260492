from __future__ import annotations

import msgspec
import pytest

from reports.model import PlanReport, Report
from reports.truncation import truncate_plan, truncate_report

_replace = msgspec.structs.replace


def test_report_within_limit_is_not_truncated(full_report: Report, whole_plan_report: PlanReport) -> None:
    report = _replace(full_report, result_json="")
    assert truncate_report(report, 1000) == report
    assert truncate_plan(whole_plan_report, 1000) == whole_plan_report


def test_stages_are_thinned_evenly_and_last_stage_remains(full_report: Report) -> None:
    stages = tuple(_replace(full_report.stages[0], name=str(index)) for index in range(1001))
    short = truncate_report(_replace(full_report, stages=stages), 101)
    assert [stage.name for stage in short.stages] == [str(10 * index) for index in range(101)]
    assert "101 of 1,001 stages." in short.notes[0]
    assert short.notes[1:] == full_report.notes


def test_recommended_offer_remains_in_order_after_truncation(whole_plan_report: PlanReport) -> None:
    plan = whole_plan_report.plan
    assert plan.recommendation is not None
    dear = tuple(_replace(plan.offers[0], offer=f"x{index}") for index in range(50))
    chosen = next(row for row in plan.offers if row.offer == plan.recommendation.offer)
    short = truncate_plan(_replace(whole_plan_report, plan=_replace(plan, offers=(*dear, chosen))), 10).plan
    assert [row.offer for row in short.offers] == [*(f"x{index}" for index in range(9)), chosen.offer]
    assert short.notes[0].startswith("The tables are truncated to limit the size of the page: 10 of 51 offers.")


def test_best_variant_remains_after_truncation(local_report: Report) -> None:
    local = local_report.local
    assert local is not None
    best = next(variant for variant in local.variants if variant.name == local.best)
    others = tuple(_replace(row, name=f"other {index}") for index, row in enumerate([local.variants[0]] * 30))
    short = truncate_report(_replace(local_report, local=_replace(local, variants=(*others, best))), 5).local
    assert short is not None
    assert best in short.variants
    assert len(short.variants) == 5


@pytest.mark.parametrize("most", [2, 100])
def test_truncated_text_counts_omitted_characters(full_report: Report, most: int) -> None:
    long = _replace(full_report.reproduce, spec_text="y" * 20_000)
    text = truncate_report(_replace(full_report, reproduce=long), most).reproduce.spec_text
    assert text == f"{'y' * 100 * most}… ({20_000 - 100 * most:,} more characters, see report.json)"
