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
from app.reporting.report import build_report
from app.session.run import RunOutcome
from tests.fakes.results import COMMAND, SPEC, full_run


class ScriptedMeasurement:
    """A measurement function whose calls return runs of these validities in turn, and which records its arguments."""

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
def test_valid_measurement_is_not_repeated(validity: Validity) -> None:
    measure = ScriptedMeasurement(validity)
    assert measure_twice_if_invalid(measure, 3.0, None) is measure.measured[0]
    assert measure.requests == [(3.0, None)]


@pytest.mark.parametrize("repeat_validity", ["VALID", "INVALID"])
def test_invalid_measurement_is_repeated_once_with_longer_steps(
    repeat_validity: Validity, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    measure, out = ScriptedMeasurement("INVALID", repeat_validity), tmp_path / "run"
    (tmp_path / "run-2").mkdir()
    assert measure_twice_if_invalid(measure, 3.0, out) is measure.measured[1]
    assert measure.requests == [(3.0, out), (6.0, tmp_path / "run-3")]
    why = "the measurement is INVALID: late sends"
    assert capsys.readouterr().err == f"{why}. The measurement is repeated with steps of 6 s.\n"


def test_repeated_measurement_without_output_path_has_none() -> None:
    measure = ScriptedMeasurement("INVALID", "WARN")
    measure_twice_if_invalid(measure, 1.5, None)
    assert measure.requests == [(1.5, None), (3.0, None)]


def test_interrupted_measurement_is_not_repeated() -> None:
    measure = ScriptedMeasurement("INVALID", code=ExitCode.INTERRUPTED)
    assert measure_twice_if_invalid(measure, 3.0, None) is measure.measured[0]
    assert len(measure.requests) == 1


def test_quickstart_llm_without_the_llm_extra_is_unavailable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SIZEWISE_HOME", str(tmp_path))
    monkeypatch.setattr("app.extras.find_spec", lambda _: None)
    assert main(["quickstart", "--llm"]) == ExitCode.UNAVAILABLE
    assert 'pip install "sizewise[llm]"' in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_quickstart_model_option_requires_llm_and_an_existing_folder(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["quickstart", "--model", "m"]) == ExitCode.USAGE
    assert "--model requires --llm" in capsys.readouterr().err
    assert main(["quickstart", "--llm", "--model", "nowhere"]) == ExitCode.USAGE
    assert "--model: nowhere is not a folder" in capsys.readouterr().err
