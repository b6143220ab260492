"""Runs of two profiles, each in a new process of the engine."""

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
from app.profiles.secrets import REDACTED
from app.records.comparison import Side
from app.records.events import Event, TurnFinished, TurnStarted
from app.records.result import Result
from app.session.interruption import Interruption
from app.session.turns import Turn
from app.storage.run_directory import new_run_id, runs_home
from loadgen.child import end_within, start_module
from loadgen.decoding import decode_json

_COMPARED = (ExitCode.OK, ExitCode.INVALID, ExitCode.GATE_FAILED)
_LEAVE_S = 30.0
_LAST_LINES = 8


class RepeatError(SizewiseError):
    """A run ended with what ends the comparison too."""

    def __init__(self, message: str, code: ExitCode, last_words: bytes = b"") -> None:
        lines = last_words.decode(errors="replace").strip().splitlines()
        super().__init__(message, hint="\n".join(lines[-_LAST_LINES:]) or None)
        self.exit_code = code


def name_to_measure(profile: str) -> str:
    """The name of a profile that can be measured here, as far as it tells itself. Raises UsageError where it cannot, as
    one that a run kept may: its files may be on another machine."""
    path = find_profile(profile)
    name = load_profile(path).name
    if REDACTED in path.read_text(encoding="utf-8"):
        hint = "Name the profile that the run was made of."
        raise UsageError(f"a secret was taken out of {path} when it was written", hint=hint)
    return name


class ProfileRuns:
    """They are stored where all runs are; `emit` is told of each."""

    def __init__(
        self,
        base: str,
        candidate: str,
        interruption: Interruption,
        emit: Callable[[Event], None],
    ) -> None:
        """Raises UsageError where one of the profiles cannot be measured."""
        self._profiles: dict[Side, str] = {"base": base, "candidate": candidate}
        self._names: dict[Side, str] = {side: name_to_measure(one) for side, one in self._profiles.items()}
        self._interruption, self._emit = interruption, emit

    def measure(self, turn: Turn) -> Result | None:
        """None where it was cut because it took longer. Raises RepeatError where it measured nothing to compare."""
        if self._interruption.code is not None:
            raise RepeatError("the comparison was stopped between two runs", self._interruption.code)
        directory = (runs_home() / new_run_id(self._names[turn.side], datetime.now(UTC))).absolute()
        where = str(directory)
        self._emit(TurnStarted(time.perf_counter_ns(), turn.pair, turn.side, where, turn.pairs))
        result = self._measured(turn, directory)
        if result is not None:
            status = result.verdict.status
            self._emit(TurnFinished(time.perf_counter_ns(), turn.pair, turn.side, where, status))
        return result

    def _measured(self, turn: Turn, directory: Path) -> Result | None:
        side = turn.side
        child = start_module(
            "app", "run", self._profiles[side], "--json", "--out", str(directory),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        self._interruption.attach(lambda _drain: child.terminate())
        self._interruption.before_leaving(child.kill)
        if self._interruption.is_requested:
            child.terminate()
        try:
            output, said = child.communicate(timeout=turn.within_s)
        except subprocess.TimeoutExpired:
            child.terminate()
            output, said = _last_of(child)
            if self._interruption.code is None:
                return None
        if self._interruption.code is not None:
            raise RepeatError(f"the comparison was stopped during a run of the {side}", self._interruption.code)
        if child.returncode not in _COMPARED:
            raise RepeatError(f"a run of the {side} ended with {child.returncode}", _code_of(child.returncode), said)
        try:
            return decode_json(output, Result)
        except msgspec.DecodeError as error:
            message = f"a run of the {side} ended with {child.returncode} and told no result: {error}"
            raise RepeatError(message, _code_of(child.returncode) or ExitCode.BUG, said) from error


def _last_of(child: subprocess.Popen[bytes]) -> tuple[bytes, bytes]:
    try:
        return child.communicate(timeout=_LEAVE_S)
    except subprocess.TimeoutExpired:
        end_within(0.0, child)
        return child.communicate()


def _code_of(returncode: int) -> ExitCode:
    try:
        return ExitCode(returncode)
    except ValueError:  # killed by a signal
        return ExitCode.BUG
