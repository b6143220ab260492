"""Run two profiles for a comparison, each run in a new process."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from app.errors import ExitCode, SizewiseError, UsageError
from app.profiles.bundled import find_profile
from app.profiles.loading import load_profile
from app.profiles.profile import Profile
from app.profiles.secrets import REDACTED
from app.records.comparison import Side
from app.records.events import Event, PairRunFinished, PairRunStarted
from app.records.result import Result
from app.session.interleaved import PairRun
from app.session.interruption import Interruption
from app.storage.run_directory import new_run_id, runs_home
from loadgen.child import start_module, wait_or_kill
from loadgen.decoding import decode_json

_COMPARABLE_EXIT_CODES = (ExitCode.OK, ExitCode.INVALID, ExitCode.GATE_FAILED)
_EXIT_LIMIT_S = 30.0
_HINT_LINES = 8


class ComparedRunError(SizewiseError):
    """Error that is raised if a comparison cannot continue because a run failed or was
    interrupted."""

    def __init__(self, message: str, code: ExitCode, stderr_tail: bytes = b"") -> None:
        lines = stderr_tail.decode(errors="replace").strip().splitlines()
        super().__init__(message, hint="\n".join(lines[-_HINT_LINES:]) or None)
        self.exit_code = code


def require_measurable_profile(name: str) -> Profile:
    """Load a profile. Raises UsageError if the profile cannot be measured on this machine.

    The profile of a stored run may not be measurable, because its files may be on another machine
    or its secrets may not be stored.
    """
    path = find_profile(name)
    profile = load_profile(path)
    if REDACTED in path.read_text(encoding="utf-8"):
        hint = "Specify the original profile file of the run."
        raise UsageError(f"{path} was stored without its secrets", hint=hint)
    return profile


class ProfileRuns:
    """Runs of two profiles for a comparison. The runs are stored in the runs folder. `emit`
    receives an event at the start and at the end of each run."""

    def __init__(
        self,
        baseline: str,
        candidate: str,
        interruption: Interruption,
        emit: Callable[[Event], None],
    ) -> None:
        """Load both profiles. Raises UsageError if a profile cannot be measured."""
        self._profiles: dict[Side, str] = {"baseline": baseline, "candidate": candidate}
        self._names: dict[Side, str] = {
            side: require_measurable_profile(profile).name for side, profile in self._profiles.items()
        }
        self._interruption, self._emit = interruption, emit

    def measure(self, pair_run: PairRun) -> Result | None:
        """Run one profile and return its result; `None` if the run exceeded its time limit and was
        stopped. Raises ComparedRunError if the run has no comparable result, or if the comparison
        was interrupted."""
        if self._interruption.code is not None:
            raise ComparedRunError("the comparison was interrupted between two runs", self._interruption.code)
        directory = (runs_home() / new_run_id(self._names[pair_run.side], datetime.now(UTC))).absolute()
        directory_text = str(directory)
        self._emit(PairRunStarted(time.perf_counter_ns(), pair_run.pair, pair_run.side, directory_text, pair_run.pairs))
        result = self._run_child(pair_run, directory)
        if result is not None:
            status = result.verdict.status
            self._emit(PairRunFinished(time.perf_counter_ns(), pair_run.pair, pair_run.side, directory_text, status))
        return result

    def _run_child(self, pair_run: PairRun, directory: Path) -> Result | None:
        side = pair_run.side
        child = start_module(
            "app", "run", self._profiles[side], "--json", "--out", str(directory),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        self._interruption.set_stop_callback(lambda _drain: child.terminate())
        self._interruption.set_exit_callback(child.kill)
        if self._interruption.is_requested:
            child.terminate()
        try:
            stdout, stderr = child.communicate(timeout=pair_run.timeout_s)
        except subprocess.TimeoutExpired:
            child.terminate()
            stdout, stderr = _collect_output(child)
            if self._interruption.code is None:
                return None
        if self._interruption.code is not None:
            raise ComparedRunError(f"the comparison was interrupted during a {side} run", self._interruption.code)
        if child.returncode not in _COMPARABLE_EXIT_CODES:
            raise ComparedRunError(
                f"a {side} run exited with code {child.returncode}", _to_exit_code(child.returncode), stderr
            )
        try:
            return decode_json(stdout, Result)
        except msgspec.DecodeError as error:
            message = f"a {side} run exited with code {child.returncode} and returned no result: {error}"
            raise ComparedRunError(message, _to_exit_code(child.returncode) or ExitCode.BUG, stderr) from error


def _collect_output(child: subprocess.Popen[bytes]) -> tuple[bytes, bytes]:
    try:
        return child.communicate(timeout=_EXIT_LIMIT_S)
    except subprocess.TimeoutExpired:
        wait_or_kill(0.0, child)
        return child.communicate()


def _to_exit_code(returncode: int) -> ExitCode:
    try:
        return ExitCode(returncode)
    except ValueError:  # The process was killed by a signal.
        return ExitCode.BUG
