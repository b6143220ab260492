"""No decision reads a sentence: runs whose texts are all replaced give the same ids, exit codes and numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from app.analysis.comparison import compare_runs
from app.analysis.curve import capacity_curve, rungs_of
from app.records.comparison import Comparison
from app.records.curves import Rung
from app.records.offers import CapacityCurve
from app.reporting.opened import open_facts
from app.storage.run_directory import EVENTS, RESULT, StoredRun
from tests.fakes.golden_runs import golden_run
from tests.fakes.stored_runs import sealed_again

PLACEHOLDER = "¤"
_TEXTS = (
    "hint", "reason", "reasons", "unchecked", "limited_by", "arrivals", "notes", "text", "gpu_note", "note", "why",
    "sentence", "message",
)  # fmt: skip


def without_texts(value: Any, key: str = "") -> Any:
    """The JSON `value` with the placeholder for each sentence; objectives are as the user wrote them."""
    if isinstance(value, dict) and "comparator" in value:
        return value
    if key in _TEXTS:
        return _replaced(value)
    if isinstance(value, dict):
        return {name: without_texts(one, name) for name, one in value.items()}
    return [without_texts(one) for one in value] if isinstance(value, list) else value


def _replaced(value: Any) -> Any:
    if isinstance(value, list):
        return [_replaced(one) for one in value]
    if isinstance(value, dict):
        return without_texts(value)
    return PLACEHOLDER if isinstance(value, str) else value


def plain(record: msgspec.Struct) -> Any:
    return without_texts(json.loads(msgspec.json.encode(record)))


def with_placeholders(name: str, folder: Path) -> StoredRun:
    """A copy of a golden run in which each text of its result and its events is the placeholder."""
    run = golden_run(name, folder)
    lines = [json.dumps(without_texts(json.loads(line))) for line in (run / EVENTS).read_text().splitlines()]
    (run / EVENTS).write_text("\n".join([*lines, ""]))
    (run / RESULT).write_text(json.dumps(without_texts(json.loads((run / RESULT).read_text()))))
    sealed_again(run)
    return StoredRun(run)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[StoredRun, StoredRun]]:
    """Golden runs as they are, and with placeholders."""
    found = {}
    for name in ("search", "llm", "local"):
        as_is = golden_run(name, tmp_path_factory.mktemp(f"{name}-as-it-is"))
        sealed_again(as_is)
        found[name] = StoredRun(as_is), with_placeholders(name, tmp_path_factory.mktemp(f"{name}-placeholders"))
    return found


def test_the_texts_of_a_result_are_found(runs: dict[str, tuple[StoredRun, StoredRun]]) -> None:
    for as_is, replaced in runs.values():
        result = replaced.result
        assert result is not None
        assert result != as_is.result
        assert {text for stage in result.stages for text in stage.verdict.reasons} <= {PLACEHOLDER}


@pytest.mark.parametrize(
    ("name", "slo"),
    [
        ("search", ["latency_ms.p95 < 250", "error_rate < 1%"]),
        ("search", ["latency_ms.p95 < 120"]),
        ("search", ["latency_ms.p95 < 1"]),
        ("llm", ["ttft_ms.p50 < 1000"]),
        ("local", ["service_ms.p99 < 0.001"]),
        ("local", ["service_ms.p99 < 10000"]),
    ],
)
def test_a_run_is_evaluated_again_alike(
    runs: dict[str, tuple[StoredRun, StoredRun]], name: str, slo: list[str]
) -> None:
    as_is, replaced = (open_facts(run).rescored(slo) for run in runs[name])
    assert plain(as_is) == plain(replaced)
    assert [cause.id for cause in as_is.exit.causes] == [cause.id for cause in replaced.exit.causes]


def test_runs_are_compared_alike(runs: dict[str, tuple[StoredRun, StoredRun]]) -> None:
    def compared(which: int) -> Comparison:
        first, second = (pair[which].measured for pair in (runs["search"], runs["llm"]))
        return compare_runs([first], [second], is_forced=True)

    assert plain(compared(0)) == plain(compared(1))


def test_the_verdict_of_a_report_is_alike(runs: dict[str, tuple[StoredRun, StoredRun]]) -> None:
    for pair in runs.values():
        as_is, replaced = (open_facts(run).report().verdict for run in pair)
        assert (as_is.outcome, as_is.trust, as_is.exit_code) == (replaced.outcome, replaced.trust, replaced.exit_code)


def test_what_a_plan_is_made_of_is_alike(runs: dict[str, tuple[StoredRun, StoredRun]]) -> None:
    def planned_from(run: StoredRun) -> tuple[CapacityCurve, tuple[Rung, ...]]:
        result = run.measured
        assert result.max_rate is not None
        slo = [judged.objective for judged in result.slo]
        return capacity_curve(result.stages, slo, result.max_rate), rungs_of(result.stages)

    for name in ("search", "llm"):
        as_is, replaced = (planned_from(run) for run in runs[name])
        assert as_is == replaced
        assert {rung.gaps for rung in as_is[1]} == {"random"}, "a service model can be fitted to them"
