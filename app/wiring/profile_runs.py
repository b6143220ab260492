"""Runs of two profiles, each in a new process of the engine."""

from __future__ import annotations

import subprocess

import msgspec

from app.errors import ExitCode, SizewiseError
from app.records.result import Result
from app.session.interruption import Interruption
from app.session.turns import Side
from loadgen.child import end_within, start_module

_COMPARED = (ExitCode.OK, ExitCode.INVALID, ExitCode.GATE_FAILED)
_LEAVE_S = 30.0
_LAST_LINES = 8


class RepeatError(SizewiseError):
    """A run ended with what ends the comparison too."""

    def __init__(self, message: str, code: ExitCode, last_words: bytes = b"") -> None:
        lines = last_words.decode(errors="replace").strip().splitlines()
        super().__init__(message, hint="\n".join(lines[-_LAST_LINES:]) or None)
        self.exit_code = code


class ProfileRuns:
    """They are stored where all runs are."""

    def __init__(self, base: str, candidate: str, interruption: Interruption) -> None:
        self._profiles: dict[Side, str] = {"base": base, "candidate": candidate}
        self._interruption = interruption

    def measure(self, side: Side, within_s: float) -> Result | None:
        """None where it was cut because it took longer. Raises RepeatError where it measured nothing to compare."""
        child = start_module(
            "app", "run", self._profiles[side], "--json", stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        self._interruption.attach(lambda _drain: child.terminate())
        self._interruption.before_leaving(child.kill)
        if self._interruption.is_requested:
            child.terminate()
        try:
            output, said = child.communicate(timeout=within_s)
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
            return msgspec.json.decode(output, type=Result)
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
