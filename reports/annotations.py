"""Workflow commands that make GitHub show what failed beside the line of the profile that asked for it."""

from __future__ import annotations

from collections.abc import Mapping

from reports.formatting import printable
from reports.junit import Judgement, State, judgements
from reports.model import Report

MOST = 10
"""Of a kind GitHub shows no more a step."""
_LEVELS: dict[State, str] = {"failed": "error", "error": "error", "open": "warning", "warned": "warning"}


def workflow_commands(report: Report, profile: str | None, lines: Mapping[str, int]) -> list[str]:
    """Errors first. `lines` are those of objectives by their text, in the file called `profile`, where they are known.
    The verdict has one of its own only where no case below it says why."""
    run, *cases = (one for one in judgements(printable(report)) if one.state in _LEVELS or one.subject == "run")
    worst = _LEVELS.get(run.state)
    told = cases if worst is None or worst in {_LEVELS[one.state] for one in cases} else [run, *cases]
    ordered = sorted(told, key=lambda one: _LEVELS[one.state])
    shown = ordered if len(ordered) <= MOST else ordered[: MOST - 1]
    commands = [_command(one, profile, lines) for one in shown]
    if len(shown) < len(ordered):
        commands.append(f"::warning::… and {len(ordered) - len(shown)} more: see the summary of the job")
    return commands


def _command(one: Judgement, profile: str | None, lines: Mapping[str, int]) -> str:
    where = {} if profile is None else {"file": profile}
    if profile is not None and (line := lines.get(one.name)) is not None and one.subject in ("SLO", "gate"):
        where["line"] = str(line)
    properties = where | {"title": f"sizewise: {one.subject}"}
    told = ",".join(f"{name}={_property(value)}" for name, value in properties.items())
    return f"::{_LEVELS[one.state]} {told}::{_data(f'{one.name}: {one.detail}')}"


def _data(raw: str) -> str:
    return raw.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(raw: str) -> str:
    return _data(raw).replace(":", "%3A").replace(",", "%2C")
