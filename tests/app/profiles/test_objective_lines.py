from __future__ import annotations

from pathlib import Path

import pytest

from app.profiles.objective_lines import find_objective_lines


def test_each_objective_has_its_line_number(tmp_path: Path) -> None:
    profile = tmp_path / "p.yaml"
    profile.write_text(
        'name: x\nslo:\n  - latency_ms.p95 < 50\n  - "error_rate < 1%"\ngates: ["ttft_ms.p99 < 9 | warn"]\n'
    )
    assert find_objective_lines(profile) == {
        "latency_ms.p95 < 50": 3,
        "error_rate < 1%": 4,
        "ttft_ms.p99 < 9 | warn": 5,
    }


@pytest.mark.parametrize("content", [None, "a: [", "- a", "slo: 5", "slo: [5]", "gates: {a: b}"])
def test_missing_or_changed_profile_has_no_objective_lines(content: str | None, tmp_path: Path) -> None:
    profile = tmp_path / "p.yaml"
    if content is not None:
        profile.write_text(content)
    assert find_objective_lines(profile) == {}
