from __future__ import annotations

import msgspec
import pytest

from app.analysis.comparisons.comparison import compare_runs
from app.reporting.comparison import build_comparison_section
from tests.fakes.repeated import result, steady

BASELINE = result(steady(10.0, 0.1))


@pytest.mark.parametrize(
    ("now_ms", "half_ms", "outcome"),
    [
        (20.0, 0.5, "regression"),
        (10.0, 0.1, "no_regression"),
        (10.8, 0.5, "inconclusive"),
    ],
)
def test_comparison_outcome_depends_on_change_and_interval(now_ms: float, half_ms: float, outcome: str) -> None:
    section = build_comparison_section(compare_runs([BASELINE], [result(steady(now_ms, half_ms), run_id="later")]))
    assert (section.outcome, section.banner) == (outcome, None)
    assert section.summary.startswith("2 headline metrics were compared")


def test_comparison_without_common_headline_metrics_is_inconclusive() -> None:
    compared = compare_runs([BASELINE], [result(steady(10.0, 0.1), run_id="later")])
    probes = tuple(msgspec.structs.replace(change, is_headline=False) for change in compared.changes)
    section = build_comparison_section(msgspec.structs.replace(compared, changes=probes))
    assert section.outcome == "inconclusive"
    assert section.summary.startswith("no headline metric has a value in both runs")


def test_comparison_of_a_run_with_itself_is_same_run() -> None:
    section = build_comparison_section(compare_runs([BASELINE], [BASELINE]))
    assert (section.outcome, section.banner) == ("same_run", None)


def test_comparison_banner_is_not_comparable_forced_or_advisory() -> None:
    slower = msgspec.structs.replace(result(steady(20.0, 0.1)), workload_hash="other")
    assert str(build_comparison_section(compare_runs([BASELINE], [slower])).banner).startswith(
        "NOT COMPARABLE: the runs differ in workload"
    )
    forced = build_comparison_section(compare_runs([BASELINE], [slower], is_forced=True))
    assert str(forced.banner).startswith("FORCED")
    environment = msgspec.structs.replace(BASELINE.environment, cpu_model="another")
    elsewhere = msgspec.structs.replace(result(steady(20.0, 0.1)), environment=environment)
    section = build_comparison_section(compare_runs([BASELINE], [elsewhere]))
    assert str(section.banner).startswith("ADVISORY")
    assert section.outcome == "no_regression"
