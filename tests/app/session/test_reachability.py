from __future__ import annotations

import msgspec
import pytest

from app.errors import ExitCode
from app.reporting.verdict import build_verdict
from app.session.reachability import LOST_AFTER_S
from app.session.spec import RunSpec, StageSpec
from app.storage.run_directory import StoredRun
from loadgen.records import StageLoad
from tests.fakes.bench import SEARCH, SPEC, Bench, poisson
from tests.fakes.dying_load import DyingLoad

LONG: RunSpec = msgspec.structs.replace(
    SPEC,
    stages=(
        StageSpec("long", "steady", StageLoad(poisson(100.0), 60.0)),
        StageSpec("never", "steady", StageLoad(poisson(100.0), 10.0)),
    ),
)


def test_lost_target_ends_the_run_after_the_timeout_and_its_rows_are_stored(bench: Bench) -> None:
    outcome = bench.run(LONG, DyingLoad(bench.clock, dies_after_s=5.0))
    result = outcome.result
    assert [plan.name for plan in bench.load.plans] == ["long"]
    (stage,) = result.stages
    assert (stage.window.end_ns - stage.window.start_ns) / 1e9 < 5 + LOST_AFTER_S + 2
    assert stage.completed > 400
    assert set(stage.errors) == {"connect"}
    assert len(bench.rows()) >= stage.completed + stage.errors["connect"]
    assert StoredRun(bench.directory).result == result
    assert result.exit.code == ExitCode.UNAVAILABLE
    assert result.exit.causes[0].id == "target_lost"
    assert "limit" not in [cause.id for cause in result.exit.causes]


def test_lost_target_takes_precedence_over_an_invalid_measurement(bench: Bench) -> None:
    result = bench.run(LONG, DyingLoad(bench.clock, dies_after_s=5.0, lag_s=0.5)).result
    assert result.verdict.status == "INVALID"
    verdict = build_verdict(result)
    assert (verdict.outcome, verdict.exit_code) == ("FAIL", ExitCode.UNAVAILABLE)
    assert verdict.headline.casefold() == result.exit.causes[0].text.casefold()
    assert "invalid" in [cause.id for cause in result.exit.causes[1:]]


def test_target_lost_at_the_end_of_a_short_run_is_reported(bench: Bench) -> None:
    result = bench.run(SPEC, DyingLoad(bench.clock, dies_after_s=6.0)).result
    assert result.stages[0].window.end_ns - result.stages[0].window.start_ns == pytest.approx(10e9, rel=0.01)
    assert result.exit.causes[0].id == "target_lost"


def test_server_that_recovers_in_time_is_measured_to_the_end(bench: Bench) -> None:
    load = DyingLoad(bench.clock, dies_after_s=5.0, returns_after_s=5.0 + LOST_AFTER_S - 2)
    result = bench.run(LONG, load).result
    assert [stage.name for stage in result.stages] == ["long", "never"]
    assert "target_lost" not in [cause.id for cause in result.exit.causes]
    assert result.stages[0].errors["connect"] > 500


def test_error_responses_do_not_make_a_target_lost(bench: Bench) -> None:
    result = bench.run(LONG, DyingLoad(bench.clock, dies_after_s=5.0, error="http-5xx", status=503)).result
    assert len(result.stages) == 2
    assert result.exit.code == ExitCode.GATE_FAILED


def test_rate_search_ends_if_its_target_is_lost(bench: Bench) -> None:
    result = bench.run(SEARCH, DyingLoad(bench.clock, dies_after_s=45.0)).result
    assert result.exit.causes[0].id == "target_lost"
    assert not {"no_rate", "rate_undecided", "target_failed"} & {cause.id for cause in result.exit.causes}
