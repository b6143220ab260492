"""Gaps between requests of an open loop, where the result file determines them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from app.records.planning_inputs import ImportedCurve
from app.storage.foreign.reading import read_foreign


@pytest.mark.parametrize(
    ("name", "gaps"),
    [("guidellm-0.3.json", "even"), ("guidellm-0.7.json", "random"), ("perf_analyzer-verbose.csv", "even")],
)
def test_request_gaps_follow_the_arrival_process_of_the_tool(
    read_curve: Callable[..., ImportedCurve], name: str, gaps: str
) -> None:
    assert {load_point.gaps for load_point in read_curve(name).load_points if load_point.offered_per_s is not None} == {
        gaps
    }


@pytest.mark.parametrize(("burstiness", "gaps"), [(1.0, "random"), (0.25, "other")])
def test_request_gaps_of_vllm_follow_its_burstiness(
    write_changed_copy: Callable[..., Path], burstiness: float, gaps: str
) -> None:
    (load_point,) = read_foreign([write_changed_copy("vllm-aggregates.json", burstiness=burstiness)]).load_points
    assert load_point.gaps == gaps


@pytest.mark.parametrize(("pattern", "gaps"), [("poisson", "random"), ("constant", "even"), ("gamma", "other")])
def test_request_gaps_of_aiperf_follow_its_arrival_pattern(
    write_changed_copy: Callable[..., Path], pattern: str, gaps: str
) -> None:
    phases = [{"name": "profiling", "type": pattern, "rate": 7.5}]
    (load_point,) = read_foreign(
        [write_changed_copy("aiperf-0.13/profile_export_aiperf.json", input_config__phases=phases)]
    ).load_points
    assert load_point.gaps == gaps
