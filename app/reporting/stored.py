"""Convert a stored run to report data."""

from __future__ import annotations

from app.reporting.report import build_report
from app.reporting.rows import UNUSED_COLUMNS
from app.storage.labels import read_labels
from app.storage.run_directory import StoredRun
from reports.model import Report

COMMAND = "sizewise run spec.yaml"
"""Command that repeats a run if it is executed in the run directory. The resolved profile includes
all overrides, but no secrets."""


def build_stored_report(run: StoredRun) -> Report:
    """Build the report of a stored run. Raises UsageError for a run without a result."""
    return build_report(
        run.complete_result,
        run.requests(UNUSED_COLUMNS),
        run.telemetry().to_pandas(),
        run.spec_text or "",
        COMMAND,
        run.result_text or "",
        read_labels(run.directory),
        unverified_files=run.unverified_files,
    )
