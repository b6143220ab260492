"""A stored run as report data."""

from __future__ import annotations

from app.errors import UsageError
from app.reporting import build_report
from app.storage.run_directory import StoredRun
from reports.model import Report


def report_of(run: StoredRun) -> Report:
    """Raises UsageError for a run that was cut short before its result."""
    result = run.result
    if result is None:
        raise UsageError(
            f"{run.directory} was cut short and has no result.json",
            hint="Its rows can be read: `sizewise.open_run(path).requests` in Python.",
        )
    command = f"sizewise run {run.directory / 'spec.yaml'}"
    return build_report(
        result,
        run.requests().to_pandas(),
        run.telemetry().to_pandas(),
        run.spec_text or "",
        command,
        run.result_text or "",
    )
