"""What was read of the runs, kept beside them: a cache that can be deleted at any time, and is made again."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Mapping
from pathlib import Path

from app.storage.labels import LABELS
from app.storage.run_directory import EVENTS, RESULT, StoredRun, runs_home

INDEX = ".index.sqlite"
_WAIT_S = 2.0
_TABLE = "CREATE TABLE IF NOT EXISTS rows (name TEXT PRIMARY KEY, stamp TEXT NOT NULL, row BLOB NOT NULL)"
_GET = "SELECT name, stamp, row FROM rows WHERE typeof(name) = 'text' AND typeof(row) = 'blob'"
_PUT = "INSERT INTO rows VALUES (?, ?, ?) ON CONFLICT (name) DO UPDATE SET stamp = excluded.stamp, row = excluded.row"


def stamp_of(run: StoredRun, version: str) -> str:
    """Other than before whenever a file of the run that a list tells of was written, or `version` reads it."""
    directory = run.directory
    result = _written(directory / RESULT)
    parts = [version, _written(directory), result, _written(directory / LABELS)]
    return " ".join(parts if result else [*parts, _written(directory / EVENTS)])


def known_rows() -> dict[str, tuple[str, bytes]]:
    """By the run's directory the stamp that it had, and its row; empty where there is no index that can be read."""
    path = runs_home() / INDEX
    if not path.is_file():
        return {}
    try:
        with contextlib.closing(sqlite3.connect(path, timeout=_WAIT_S)) as index:
            return {name: (stamp, row) for name, stamp, row in index.execute(_GET)}
    except sqlite3.Error:  # damaged, or of another kind: it is written anew
        with contextlib.suppress(OSError):
            path.unlink()
        return {}


def keep_rows(rows: Mapping[str, tuple[str, bytes]], gone: set[str]) -> None:
    """Without a word where it cannot be written: the rows are read again then."""
    home = runs_home()
    if not (rows or gone) or not home.is_dir():
        return
    values = [(name, stamp, row) for name, (stamp, row) in rows.items()]
    with (
        contextlib.suppress(sqlite3.Error, OSError),
        contextlib.closing(sqlite3.connect(home / INDEX, timeout=_WAIT_S)) as index,
        index,
    ):
        index.execute(_TABLE)
        index.executemany(_PUT, values)
        index.executemany("DELETE FROM rows WHERE name = ?", [(name,) for name in gone])


def _written(path: Path) -> str:
    try:
        facts = path.stat()
    except OSError:
        return ""
    return f"{facts.st_mtime_ns}:{facts.st_size}"
