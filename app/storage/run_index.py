"""Index of the rows shown in the list of runs, stored in the runs' home. The index is a cache and
can be deleted at any time."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Mapping
from pathlib import Path

from app.storage.labels import LABELS
from app.storage.names import CALLS, REQUESTS
from app.storage.run_directory import EVENTS, RESULT, StoredRun, runs_home

INDEX = ".index.sqlite"
_LOCK_TIMEOUT_S = 2.0
_CREATE_TABLE = "CREATE TABLE IF NOT EXISTS rows (name TEXT PRIMARY KEY, stamp TEXT NOT NULL, row BLOB NOT NULL)"
_SELECT = "SELECT name, stamp, row FROM rows WHERE typeof(name) = 'text' AND typeof(row) = 'blob'"
_UPSERT = (
    "INSERT INTO rows VALUES (?, ?, ?) ON CONFLICT (name) DO UPDATE SET stamp = excluded.stamp, row = excluded.row"
)


def compute_stamp(run: StoredRun, version: str) -> str:
    """Return a stamp of the files from which the row of a run is built. The stamp changes whenever
    one of these files is written, or when `version`, the version of the row format, changes."""
    directory = run.directory
    result_stamp = _compute_file_stamp(directory / RESULT)
    stamps = [version, _compute_file_stamp(directory), result_stamp, _compute_file_stamp(directory / LABELS)]
    stamps += [_compute_file_stamp(directory / name) for name in (REQUESTS, CALLS)]
    return " ".join(stamps if result_stamp else [*stamps, _compute_file_stamp(directory / EVENTS)])


def load_rows() -> dict[str, tuple[str, bytes]]:
    """Return the stamp and the encoded row of each run, by name of the run directory; empty if
    there is no readable index."""
    path = runs_home() / INDEX
    if not path.is_file():
        return {}
    try:
        with contextlib.closing(sqlite3.connect(path, timeout=_LOCK_TIMEOUT_S)) as connection:
            return {name: (stamp, row) for name, stamp, row in connection.execute(_SELECT)}
    except sqlite3.Error:  # the index is corrupted or not a database, and is created again
        with contextlib.suppress(OSError):
            path.unlink()
        return {}


def update_rows(rows: Mapping[str, tuple[str, bytes]], removed_names: set[str]) -> None:
    """Write `rows` to the index, and delete the rows of `removed_names`. Write errors are ignored,
    because rows that are missing in the index are read from the runs again."""
    home = runs_home()
    if not (rows or removed_names) or not home.is_dir():
        return
    records = [(name, stamp, row) for name, (stamp, row) in rows.items()]
    with (
        contextlib.suppress(sqlite3.Error, OSError),
        contextlib.closing(sqlite3.connect(home / INDEX, timeout=_LOCK_TIMEOUT_S)) as connection,
        connection,
    ):
        connection.execute(_CREATE_TABLE)
        connection.executemany(_UPSERT, records)
        connection.executemany("DELETE FROM rows WHERE name = ?", [(name,) for name in removed_names])


def _compute_file_stamp(path: Path) -> str:
    try:
        status = path.stat()
    except OSError:
        return ""
    return f"{status.st_mtime_ns}:{status.st_size}"
