"""Deleted runs: kept in the runs' home until somebody asks for their end.

A deleted run stands in a folder named by the time of its deletion, and is itself as it was.
"""

from __future__ import annotations

import contextlib
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec

from app.errors import UsageError
from app.storage.run_directory import StoredRun, runs_home

KEPT_FOR = timedelta(days=30)
_FOLDER, _STAMP = ".trash", "%Y%m%dT%H%M%SZ"
_DELETED = "`sizewise runs list --deleted` shows what can be brought back."


class DeletedRun(msgspec.Struct, frozen=True):
    run: StoredRun
    deleted_at: datetime


def delete_runs(runs: list[StoredRun], now: datetime) -> None:
    """Move them to the trash: all, or none where one is running, or is kept in a place of the user's own."""
    home = runs_home().resolve()
    for run in runs:
        if run.is_running:
            raise UsageError(f"{run.directory} is still running", hint="`sizewise runs stop` it first.")
        if run.directory.resolve().parent != home:
            hint = f"Only runs in {home} are moved to the trash: remove that folder yourself."
            raise UsageError(f"{run.directory} is kept in a place of your own", hint=hint)
    folder = _trash() / now.astimezone(UTC).strftime(_STAMP)
    for run in runs:
        target = folder / run.directory.resolve().name
        if target.exists():  # deleted, imported again and deleted, in one second
            raise UsageError(f"{target.name} was deleted just now: wait a second")
        _move(run.directory.resolve(), target)


def deleted_runs() -> list[DeletedRun]:
    """The first deleted first."""
    found = []
    for folder, deleted_at in _folders():
        for path in sorted(folder.iterdir()):
            with contextlib.suppress(UsageError):  # no run is in it
                found.append(DeletedRun(StoredRun(path), deleted_at))
    return found


def restore_run(name: str) -> Path:
    """Bring back a run by its id, or the unique beginning of it; of several by one id, the last deleted."""
    found = {one.run.directory.name: one.run for one in deleted_runs() if one.run.directory.name.startswith(name)}
    if len(found) != 1 and name not in found:
        problem = "no deleted run is" if not found else f"{len(found)} deleted runs begin with"
        raise UsageError(f"{problem} {name!r}", hint=_DELETED)
    directory = found[name].directory if name in found else next(iter(found.values())).directory
    target = runs_home() / directory.name
    if target.exists():
        raise UsageError(f"{target} is there again", hint="Delete or move that one first.")
    _move(directory, target)
    with contextlib.suppress(OSError):  # others were deleted with it
        directory.parent.rmdir()
    return target


def purge(now: datetime) -> list[str]:
    """End what was deleted more than 30 days ago, and tell its names."""
    gone = []
    for folder, deleted_at in _folders():
        if now - deleted_at > KEPT_FOR:
            gone += sorted(path.name for path in folder.iterdir())
            try:
                shutil.rmtree(folder)
            except OSError as error:
                raise UsageError(f"{folder} cannot be removed: {error.strerror}") from error
    return gone


def _trash() -> Path:
    return runs_home() / _FOLDER


def _folders() -> list[tuple[Path, datetime]]:
    """By time of deletion; what else lies in the trash is none of ours."""
    folders = []
    for path in sorted(_trash().glob("*Z")):
        with contextlib.suppress(ValueError):
            deleted_at = datetime.strptime(path.name, _STAMP).replace(tzinfo=UTC)
            if path.is_dir() and not path.is_symlink():
                folders.append((path, deleted_at))
    return folders


def _move(source: Path, target: Path) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        source.rename(target)
    except OSError as error:
        raise UsageError(f"{source} cannot be moved to {target.parent}: {error.strerror}") from error
