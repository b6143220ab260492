"""GitHub workflow commands that annotate the line of the profile that caused a failure."""

from __future__ import annotations

from collections.abc import Mapping

from reports.formatting import sanitize
from reports.junit import CaseResult, State, case_results
from reports.model import Report

MAX_ANNOTATIONS = 10
"""Maximum number of annotations of one level that GitHub shows per step."""
_LEVELS: dict[State, str] = {"failed": "error", "error": "error", "open": "warning", "warned": "warning"}


def workflow_commands(report: Report, profile: str | None, lines: Mapping[str, int]) -> list[str]:
    """Return GitHub workflow commands for the failed cases and warnings of a report, errors first.

    `lines` maps the text of an objective to its line in the file `profile`, if known. The verdict
    of the run has its own command only if no individual case has the same level.
    """
    run, *cases = (case for case in case_results(sanitize(report)) if case.state in _LEVELS or case.subject == "run")
    run_level = _LEVELS.get(run.state)
    to_report = cases if run_level is None or run_level in {_LEVELS[case.state] for case in cases} else [run, *cases]
    ordered = sorted(to_report, key=lambda case: _LEVELS[case.state])
    shown = ordered if len(ordered) <= MAX_ANNOTATIONS else ordered[: MAX_ANNOTATIONS - 1]
    commands = [_command(case, profile, lines) for case in shown]
    if len(shown) < len(ordered):
        commands.append(f"::warning::… and {len(ordered) - len(shown)} more. See the job summary.")
    return commands


def _command(case: CaseResult, profile: str | None, lines: Mapping[str, int]) -> str:
    location = {} if profile is None else {"file": profile}
    if profile is not None and (line := lines.get(case.name)) is not None and case.subject in ("SLO", "gate"):
        location["line"] = str(line)
    properties = location | {"title": f"sizewise: {case.subject}"}
    joined = ",".join(f"{name}={_property(value)}" for name, value in properties.items())
    return f"::{_LEVELS[case.state]} {joined}::{_data(f'{case.name}: {case.detail}')}"


def _data(raw: str) -> str:
    return raw.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(raw: str) -> str:
    return _data(raw).replace(":", "%3A").replace(",", "%2C")
