"""Export of a plan: plan file, report, or the fleet in the format of another tool."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from app import __version__
from app.errors import UsageError
from app.planning.exports.files import export_plan
from app.planning.exports.settings import ExportSettings
from app.records.plan import Plan
from app.records.planning_inputs import PlanningInputs
from app.reporting.plan import build_plan_report
from app.wiring.plan_files import PlanFile, write_plan
from reports.rendering import render

ExportKind = Literal["plan", "report", "csv", "k8s", "kserve", "terraform"]
DIRECTORY_KINDS: tuple[ExportKind, ...] = ("k8s", "kserve", "terraform", "csv")
"""Export kinds that can consist of several files. The files are written into a directory."""


def write_export(
    kind: ExportKind, plan: Plan, plan_inputs: PlanningInputs, command: str, destination: Path
) -> tuple[Path, ...]:
    """Write an export and return the paths of its files. `destination` is a file for a plan or
    report, otherwise a directory.

    Raises UsageError if the export cannot be written.
    """
    tool = f"sizewise {__version__}"
    if kind == "plan":
        return write_plan(destination, PlanFile(tool, plan, plan_inputs))
    if kind == "report":
        files = {destination.name: render(build_plan_report(plan, plan_inputs, tool, command), "html")}
        return _write_files(destination.parent, files)
    return _write_files(destination, export_plan(plan, kind, ExportSettings()))


def _write_files(directory: Path, files: dict[str, str]) -> tuple[Path, ...]:
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (directory / name).write_text(text, encoding="utf-8", newline="")
    except OSError as error:
        raise UsageError(f"{directory} cannot be written: {error.strerror}", hint="Choose another folder.") from error
    return tuple(directory / name for name in files)
