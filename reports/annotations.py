"""Build GitHub workflow commands, which annotate the line of the profile that caused a failure."""

from __future__ import annotations

from collections.abc import Mapping

from reports.formatting import sanitize
from reports.junit import CaseResult, State, build_case_results
from reports.model import Report

MAX_ANNOTATIONS = 10
"""Maximum number of annotations of one level that GitHub shows per step of a workflow."""
_LEVELS: dict[State, str] = {"failed": "error", "error": "error", "open": "warning", "warned": "warning"}


def build_workflow_commands(report: Report, profile_path: str | None, line_numbers: Mapping[str, int]) -> list[str]:
    """Return GitHub workflow commands for the failed cases and warnings of a report, errors first.

    `line_numbers` maps the text of an objective to its line in the file `profile_path`, if known.
    The verdict of the run has a command of its own only if no other case has the same level.
    """
    run, *cases = (
        case for case in build_case_results(sanitize(report)) if case.state in _LEVELS or case.subject == "run"
    )
    run_level = _LEVELS.get(run.state)
    reported_cases = (
        cases if run_level is None or run_level in {_LEVELS[case.state] for case in cases} else [run, *cases]
    )
    sorted_cases = sorted(reported_cases, key=lambda case: _LEVELS[case.state])
    shown_cases = sorted_cases if len(sorted_cases) <= MAX_ANNOTATIONS else sorted_cases[: MAX_ANNOTATIONS - 1]
    commands = [_build_command(case, profile_path, line_numbers) for case in shown_cases]
    if len(shown_cases) < len(sorted_cases):
        hidden_count = len(sorted_cases) - len(shown_cases)
        commands.append(f"::warning::{hidden_count} more results are listed in the job summary.")
    return commands


def _build_command(case: CaseResult, profile_path: str | None, line_numbers: Mapping[str, int]) -> str:
    location = {} if profile_path is None else {"file": profile_path}
    if (
        profile_path is not None
        and (line := line_numbers.get(case.name)) is not None
        and case.subject in ("SLO", "gate")
    ):
        location["line"] = str(line)
    properties = location | {"title": f"sizewise: {case.subject}"}
    properties_text = ",".join(f"{name}={_escape_property(value)}" for name, value in properties.items())
    return f"::{_LEVELS[case.state]} {properties_text}::{_escape_data(f'{case.name}: {case.detail}')}"


def _escape_data(raw: str) -> str:
    return raw.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _escape_property(raw: str) -> str:
    return _escape_data(raw).replace(":", "%3A").replace(",", "%2C")
