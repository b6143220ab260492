from __future__ import annotations

import pytest
from msgspec.structs import replace

from app.records.selftest import Finding, SelfTestSummary, build_finding, build_selftest


def build_selftest_id(
    *findings: Finding, at: str = "2026-01-02T12:00:00+00:00", tool: str = "1", fingerprint: str = "f"
) -> str:
    return build_selftest(findings, at=at, tool=tool, fingerprint=fingerprint, duration_s=1.0).id


GOOD = build_finding("stall", "p95", 900.0, low=855.0, high=945.0, unit="ms")


@pytest.mark.parametrize(
    ("measured", "low", "high", "passed"),
    [(1.0, 1.0, 1.0, True), (1.1, None, 1.0, False), (0.9, 1.0, None, False), (None, None, None, False),
     (float("nan"), 0.0, None, False), (5.0, None, None, True)],
)  # fmt: skip
def test_selftest_finding_passes_inside_its_bounds(
    measured: float | None, low: float | None, high: float | None, passed: bool
) -> None:
    assert build_finding("c", "w", measured, low=low, high=high, unit=None).passed is passed


def test_selftest_id_depends_on_tool_machine_time_and_outcome() -> None:
    bad = build_finding("stall", "p95", 100.0, low=855.0, high=945.0, unit="ms")
    ids = {
        build_selftest_id(GOOD),
        build_selftest_id(bad),
        build_selftest_id(GOOD, at="later"),
        build_selftest_id(GOOD, tool="2"),
        build_selftest_id(GOOD, fingerprint="g"),
    }
    assert len(ids) == 5
    assert build_selftest_id(GOOD) == build_selftest_id(GOOD)


def test_selftest_without_findings_does_not_pass() -> None:
    assert not build_selftest((), at="", tool="", fingerprint="", duration_s=0.0).passed


def test_selftest_summary_lists_each_failed_check_once() -> None:
    bad = replace(GOOD, passed=False)
    selftest = build_selftest(
        (bad, GOOD, bad, replace(bad, check="clock")), at="t", tool="1", fingerprint="f", duration_s=1.0
    )
    assert selftest.summarize() == SelfTestSummary(selftest.id, "t", False, ("stall", "clock"))
