"""The report of another tool's result file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from app.records.result import Result
    from reports.model import Report


def is_foreign(path: Path) -> bool:
    """Whether it is a file, or a folder without a run in it. Whether any tool's, is told on reading it."""
    from app.storage.run_directory import EVENTS

    return path.is_file() or (path.is_dir() and not (path / EVENTS).exists())


def foreign_report(path: Path) -> tuple[Report, Result]:
    """Its load points, as the tool tells them. Raises UsageError where the file is of no known tool."""
    import msgspec

    from app.analysis.foreign_result import foreign_result
    from app.records.telemetry import TELEMETRY_SCHEMA
    from app.reporting import build_report
    from app.storage.foreign.reading import read_foreign
    from loadgen.records import REQUEST_SCHEMA

    result = foreign_result(read_foreign([path]))
    report = build_report(
        result,
        REQUEST_SCHEMA.empty_table(),
        TELEMETRY_SCHEMA.empty_table().to_pandas(),
        "",
        f"sizewise report {path.name}",
        msgspec.json.encode(result).decode(),
    )
    return msgspec.structs.replace(report, environment=()), result  # of which the file tells nothing
