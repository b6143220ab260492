"""Files that accompany a report: request rows and call rows as Parquet, and tables as CSV."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import msgspec

from app.records.calls import CALL_SCHEMA
from app.storage.parquet import write_parquet
from app.storage.run_directory import CALLS, REQUESTS, write_atomically
from loadgen.records import REQUEST_SCHEMA
from reports.model import Download, Report
from reports.tables import build_tables

_DESCRIPTIONS = {
    "stages": "stages",
    "variants": "scenarios of all variants",
    "tests": "tests of all variants",
    "classes": "classes of requests by stage",
    "timeline": "rates and latency over time",
    "offers": "offers of the plan",
}


def write_sidecars(
    report: Report, run_directory: Path, page_path: Path, redact: Callable[[str], str] | None = None
) -> Report:
    """Write the files that accompany a report, and return the report with links to the files.

    The files are written to the folder of `page_path`; the stem of `page_path` is the prefix of
    their names. `run_directory` is the run directory that contains the rows. `redact` is applied to
    the strings in the rows.
    """
    downloads = []
    for stream_name, schema, kind in ((REQUESTS, REQUEST_SCHEMA, "request"), (CALLS, CALL_SCHEMA, "call")):
        path = page_path.with_name(f"{page_path.stem}-{kind}s.parquet")
        class_names = () if report.classes is None else report.classes.names
        if write_parquet(run_directory / stream_name, schema, path, redact, class_names=class_names):
            is_generation = report.local is not None and report.local.is_language_model
            row_noun = "step of the model" if is_generation and kind == "call" else kind
            downloads.append(_describe_file(path, f"one row per {row_noun}"))
    for name, text in build_tables(report).items():
        path = page_path.with_name(f"{page_path.stem}-{name}.csv")
        write_atomically(path, text.encode())
        downloads.append(_describe_file(path, _DESCRIPTIONS[name]))
    return msgspec.structs.replace(report, downloads=tuple(downloads))


def _describe_file(path: Path, description: str) -> Download:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Download(name=path.name, contents=description, sha256=digest, size_bytes=path.stat().st_size)
