"""Report the result file of another tool."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from app.records.result import Result
    from reports.model import Report


def is_foreign_result(path: Path) -> bool:
    """Return whether the path is a file, or a folder that is not a run directory.

    The file format is not checked: an unknown format is detected only when the file is read.
    """
    from app.storage.run_directory import EVENTS

    return path.is_file() or (path.is_dir() and not (path / EVENTS).exists())


def build_foreign_report(path: Path) -> tuple[Report, Result]:
    """Build the report of a result file of another tool. Raises UsageError if the format of the
    file is unknown."""
    import msgspec

    from app.analysis.foreign_result import build_foreign_result
    from app.records.telemetry import TELEMETRY_SCHEMA
    from app.reporting import build_report
    from app.storage.foreign.reading import read_foreign
    from loadgen.records import REQUEST_SCHEMA

    result = build_foreign_result(read_foreign([path]))
    report = build_report(
        result,
        REQUEST_SCHEMA.empty_table(),
        TELEMETRY_SCHEMA.empty_table().to_pandas(),
        "",
        f"sizewise report {path.name}",
        msgspec.json.encode(result).decode(),
    )
    return msgspec.structs.replace(report, environment=()), result  # the file does not state the environment
