"""What GitHub Actions reads of a run: the job's summary, and annotations beside the profile's lines."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from app.profiles.objective_lines import objective_lines
from reports.annotations import workflow_commands
from reports.markdown import MAX_BYTES, render_markdown
from reports.model import Report


def tell_github(report: Report, profile: str | None, environment: Mapping[str, str]) -> None:
    """Does nothing elsewhere. `profile` is what the command was given, a file or a name."""
    summary = environment.get("GITHUB_STEP_SUMMARY")
    if summary:
        _append(Path(summary), report)
    if environment.get("GITHUB_ACTIONS"):
        path = Path(profile) if profile and Path(profile).is_file() else None
        lines = {} if path is None else objective_lines(path)
        shown = None if path is None else _in_repository(path, environment.get("GITHUB_WORKSPACE"))
        for command in workflow_commands(report, shown, lines):
            print(command, file=sys.stderr)


def _append(path: Path, report: Report) -> None:
    """What the step wrote there before stays; all of it together may not be larger than a summary can be."""
    try:
        taken = path.stat().st_size if path.exists() else 0
        with path.open("ab") as file:
            file.write(render_markdown(report, MAX_BYTES - taken).encode())
    except OSError as error:  # the run is measured and stored: its exit code tells of it, and not of this
        print(f"the job's summary could not be written: {error.strerror}", file=sys.stderr)


def _in_repository(path: Path, workspace: str | None) -> str:
    """As GitHub names it: from the root of the checkout."""
    whole = path.resolve()
    inside = workspace and whole.is_relative_to(Path(workspace).resolve())
    return whole.relative_to(Path(workspace).resolve()).as_posix() if workspace and inside else path.as_posix()
