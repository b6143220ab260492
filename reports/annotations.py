"""Workflow commands that make GitHub show failures beside the line of the profile that caused them."""

from __future__ import annotations

from collections.abc import Mapping

from reports.formatting import sanitize
from reports.junit import CaseResult, State, case_results
from reports.model import Report

MAX_ANNOTATIONS = 10
"""Maximum number of annotations of one level that GitHub shows per step."""
_LEVELS: dict[State, str] = {"failed": "error", "error": "error", "open": "warning", "warned": "warning"}


def workflow_commands(report: Report, profile: str | None, lines: Mapping[str, int]) -> list[str]:
    """Return workflow commands, errors first.

    `lines` gives the line of each objective, by its text, in the file `profile`, where known. The verdict has its own
    command only if no case below it gives the reason.
    """
    run, *cases = (
        judgement
        for judgement in case_results(sanitize(report))
        if judgement.state in _LEVELS or judgement.subject == "run"
    )
    run_level = _LEVELS.get(run.state)
    to_report = (
        cases if run_level is None or run_level in {_LEVELS[judgement.state] for judgement in cases} else [run, *cases]
    )
    ordered = sorted(to_report, key=lambda judgement: _LEVELS[judgement.state])
    shown = ordered if len(ordered) <= MAX_ANNOTATIONS else ordered[: MAX_ANNOTATIONS - 1]
    commands = [_command(judgement, profile, lines) for judgement in shown]
    if len(shown) < len(ordered):
        commands.append(f"::warning::… and {len(ordered) - len(shown)} more: see the summary of the job")
    return commands


def _command(judgement: CaseResult, profile: str | None, lines: Mapping[str, int]) -> str:
    location = {} if profile is None else {"file": profile}
    if profile is not None and (line := lines.get(judgement.name)) is not None and judgement.subject in ("SLO", "gate"):
        location["line"] = str(line)
    properties = location | {"title": f"sizewise: {judgement.subject}"}
    joined = ",".join(f"{name}={_property(value)}" for name, value in properties.items())
    return f"::{_LEVELS[judgement.state]} {joined}::{_data(f'{judgement.name}: {judgement.detail}')}"


def _data(raw: str) -> str:
    return raw.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(raw: str) -> str:
    return _data(raw).replace(":", "%3A").replace(",", "%2C")
