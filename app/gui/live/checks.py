"""The checks of a run while it goes on, judged as its result will be."""

from __future__ import annotations

from app.gui.live.state import CheckLine
from app.records.result import Check, Stage, Verdict
from app.reporting.quantities import check_row
from reports.formatting import check_limit, check_value

_ORDER = {"INVALID": 0, "WARN": 1, "VALID": 2}


class LiveChecks:
    """A stage that is run again takes the place of the one before."""

    def __init__(self) -> None:
        self._of_run: dict[str, Check] = {}
        self._stages: dict[tuple[str, int], Stage] = {}
        self._all: tuple[Check, ...] = ()
        self.verdict: Verdict | None = None
        """None where nothing was checked yet."""

    @property
    def is_invalid(self) -> bool:
        return self.verdict is not None and self.verdict.status == "INVALID"

    def why_invalid(self) -> tuple[str, ...]:
        from app.analysis.validity import verdict_of

        return verdict_of([check for check in self._all if check.verdict == "INVALID"]).reasons

    def take(self, check: Check) -> None:
        self._of_run[check.id] = check
        self._judge()

    def take_stage(self, stage: Stage) -> None:
        self._stages[(stage.name, stage.repeat)] = stage
        self._judge()

    def _judge(self) -> None:
        from app.analysis.validity import run_checks, verdict_of

        self._all = (*self._of_run.values(), *run_checks(list(self._stages.values())))
        self.verdict = verdict_of(self._all) if self._all else None

    def lines(self) -> tuple[CheckLine, ...]:
        """The worst first."""
        return tuple(_line(check) for check in sorted(self._all, key=lambda one: _ORDER[one.verdict]))


def _line(check: Check) -> CheckLine:
    row = check_row(check)
    limit = None if check.limit is None else check_limit(row)
    return CheckLine(name=row.name, value=check_value(row), limit=limit, verdict=check.verdict, hint=check.hint)
