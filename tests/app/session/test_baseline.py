from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from app.errors import ExitCode, UsageError
from app.records.result import Result
from app.session.spec import BaselineSpec
from tests.fakes.bench import SPEC, Bench


def measured(tmp_path: Path, name: str) -> Result:
    return Bench(tmp_path / name).run(SPEC).result


def faster(result: Result, by: float) -> Result:
    """As if its answers had come so much sooner."""

    def scaled(one: object) -> object:
        value, ci95 = one.value, one.ci95  # type: ignore[attr-defined]
        if value is None:
            return one
        return msgspec.structs.replace(one, value=value / by, ci95=ci95 and tuple(end / by for end in ci95))  # type: ignore[type-var]

    stages = tuple(
        msgspec.structs.replace(
            stage,
            metrics=stage.metrics
            | {"latency_ms": {name: scaled(one) for name, one in stage.metrics["latency_ms"].items()}},
        )
        for stage in result.stages
    )
    return msgspec.structs.replace(result, run_id="before", stages=stages)


def test_a_run_that_is_slower_than_its_baseline_ends_with_11_and_says_what(tmp_path: Path) -> None:
    before = faster(measured(tmp_path, "before"), by=3.0)
    spec = msgspec.structs.replace(SPEC, baseline=BaselineSpec((before,), 0.05))
    result = Bench(tmp_path / "now").run(spec).result
    assert result.comparison is not None
    assert result.comparison.base == ("before",)
    assert result.exit.code == ExitCode.REGRESSION
    assert any("got worse" in cause for cause in result.exit.texts)


def test_a_run_like_its_baseline_ends_as_it_would_without_one(tmp_path: Path) -> None:
    before = measured(tmp_path, "before")
    spec = msgspec.structs.replace(SPEC, baseline=BaselineSpec((before,), 0.05))
    result = Bench(tmp_path / "now").run(spec).result
    assert result.comparison is not None
    assert result.exit == before.exit
    assert result.comparison.differences == ()


def test_a_baseline_of_another_workload_is_refused_before_anything_is_sent_or_forced(tmp_path: Path) -> None:
    before = msgspec.structs.replace(measured(tmp_path, "before"), workload_hash="one")
    spec = msgspec.structs.replace(SPEC, workload_hash="other", baseline=BaselineSpec((before,), 0.05))
    refused = Bench(tmp_path / "refused")
    with pytest.raises(UsageError, match="the baseline cannot be compared: workload: one before, other now"):
        refused.run(spec)
    forced = msgspec.structs.replace(spec, baseline=BaselineSpec((before,), 0.05, is_forced=True))
    comparison = Bench(tmp_path / "forced").run(forced).result.comparison
    assert comparison is not None
    assert comparison.is_forced


def test_a_baseline_with_nothing_in_common_is_a_usage_error_with_the_result_kept(tmp_path: Path) -> None:
    before = measured(tmp_path, "before")
    empty = msgspec.structs.replace(before, stages=(), max_rate=None)
    spec = msgspec.structs.replace(SPEC, baseline=BaselineSpec((empty,), 0.05))
    bench = Bench(tmp_path / "now")
    result = bench.run(spec).result
    assert result.exit.code == ExitCode.USAGE
    assert result.stages
    assert (bench.directory / "result.json").exists()
