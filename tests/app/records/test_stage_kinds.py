from __future__ import annotations

import ast
from pathlib import Path
from typing import cast, get_args

import pytest
from msgspec.structs import replace

import reports.model
from app.analysis.curve import select_curve_stages
from app.analysis.failed_requests import count_failed_requests
from app.analysis.gating import filter_by_tags
from app.analysis.max_rate import derive_search_outcome
from app.gui.live.stages import LiveStages
from app.records.result import Stage
from app.records.stage_kinds import STAGE_KINDS, StageKind, StageTraits
from tests.fakes.live_runs import stage_started
from tests.fakes.results import full_run

ROOT = Path(__file__).parents[3]
TOY = cast("StageKind", "toy")


def build_toy_stage(monkeypatch: pytest.MonkeyPatch, traits: StageTraits) -> Stage:
    """Return a stage of a new kind with these traits, which met the SLO at 80 req/s."""
    monkeypatch.setitem(STAGE_KINDS, TOY, traits)
    stage = next(stage for stage in full_run().result.stages if stage.variant is None and not stage.is_pooled)
    return replace(stage, kind=TOY, scheduled_per_s=80.0, meets_slo=True)


def test_stage_kind_table_has_one_row_per_kind() -> None:
    assert tuple(STAGE_KINDS) == get_args(StageKind) == get_args(reports.model.StageKind)


def test_stage_kinds_of_reports_match_the_stage_kind_table() -> None:
    assert [kind for kind, traits in STAGE_KINDS.items() if traits.has_fixed_rate] == [*reports.model.FIXED_RATE_KINDS]
    assert [kind for kind, traits in STAGE_KINDS.items() if traits.is_configured] == [*reports.model.CONFIGURED_KINDS]
    assert [kind for kind, traits in STAGE_KINDS.items() if not traits.is_measured] == ["warmup"]


@pytest.mark.parametrize("is_measured", [True, False])
def test_stages_of_a_measured_kind_are_evaluated(monkeypatch: pytest.MonkeyPatch, is_measured: bool) -> None:
    stage = build_toy_stage(monkeypatch, StageTraits(is_measured=is_measured))
    failed_stage = replace(stage, errors={"timeout": 3})
    assert filter_by_tags([stage], {}) == ((stage,) if is_measured else ())
    assert count_failed_requests([failed_stage]).failed == (3 if is_measured else 0)


@pytest.mark.parametrize("is_search", [True, False])
def test_stage_kind_with_a_fixed_rate_is_a_point_of_the_curve(monkeypatch: pytest.MonkeyPatch, is_search: bool) -> None:
    stage = build_toy_stage(monkeypatch, StageTraits(has_fixed_rate=True, is_search=is_search))
    assert select_curve_stages([stage]) == [stage]
    assert derive_search_outcome([stage]).max_rate_per_s == (None if is_search else 80.0)
    assert derive_search_outcome([stage], includes_search=True).max_rate_per_s == 80.0


def test_stage_kind_without_a_fixed_rate_is_not_a_point_of_the_curve(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = build_toy_stage(monkeypatch, StageTraits(has_changing_rate=True))
    assert select_curve_stages([stage]) == []


@pytest.mark.parametrize("can_change", [True, False])
def test_live_page_changes_stages_only_as_their_kind_allows(monkeypatch: pytest.MonkeyPatch, can_change: bool) -> None:
    monkeypatch.setitem(STAGE_KINDS, TOY, StageTraits(can_change_rate=can_change, can_be_extended=not can_change))
    stages = LiveStages()
    stages.begin(stage_started(0, 0.0, kind=TOY), 0, None)
    (cell,) = stages.cells()
    assert (cell.can_change_rate, cell.can_extend) == (can_change, not can_change)


def test_code_does_not_compare_with_lists_of_stage_kinds() -> None:
    names = set(get_args(StageKind))
    comparisons = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in sorted((ROOT / "app").rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Compare | ast.Assign | ast.AnnAssign)
        for values in _list_literal_tuples(node)
        if len(values) > 1 and names.issuperset(values)
    ]
    assert comparisons == []


def _list_literal_tuples(node: ast.Compare | ast.Assign | ast.AnnAssign) -> list[tuple[object, ...]]:
    values = node.comparators if isinstance(node, ast.Compare) else [node.value]
    return [
        tuple(element.value if isinstance(element, ast.Constant) else None for element in value.elts)
        for value in values
        if isinstance(value, ast.Tuple | ast.List | ast.Set)
    ]
