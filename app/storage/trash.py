"""Trash of deleted runs, which remain in the runs' home until they are purged.

A deleted run is moved, unchanged, to a trash folder named after the time of deletion.
"""

from __future__ import annotations

import contextlib
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec

from app.errors import UsageError
from app.storage.run_directory import StoredRun, runs_home

RETENTION = timedelta(days=30)
_FOLDER, _STAMP = ".trash", "%Y%m%dT%H%M%SZ"
_DELETED = "List the deleted runs with `sizewise runs list --deleted`."


class DeletedRun(msgspec.Struct, frozen=True):
    run: StoredRun
    deleted_at: datetime


def delete_runs(runs: list[StoredRun], now: datetime) -> None:
    """Move runs to the trash, either all or none.

    Raises UsageError if any run is still running or is stored outside the runs' home.
    """
    home = runs_home().resolve()
    for run in runs:
        if run.is_running:
            raise UsageError(f"{run.directory} is still running", hint="Stop it first with `sizewise runs stop`.")
        if run.directory.resolve().parent != home:
            hint = f"Only runs in {home} can be moved to the trash. Delete this directory yourself."
            raise UsageError(f"{run.directory} is not in the runs directory", hint=hint)
    folder = _trash() / now.astimezone(UTC).strftime(_STAMP)
    for run in runs:
        target = folder / run.directory.resolve().name
        if target.exists():  # the run was deleted, imported and deleted again within a second
            what = f"{target.name} cannot be deleted: a run of this name was deleted in the same second"
            raise UsageError(what, hint="Try again.")
        _move(run.directory.resolve(), target)


def list_deleted_runs() -> list[DeletedRun]:
    """Return the deleted runs, ordered by time of deletion, oldest first."""
    runs = []
    for folder, deleted_at in _folders():
        for path in sorted(folder.iterdir()):
            with contextlib.suppress(UsageError):  # the folder holds no run
                runs.append(DeletedRun(StoredRun(path), deleted_at))
    return runs


def restore_run(name: str) -> Path:
    """Restore a deleted run by its id or a unique prefix of its id, and return its directory. If
    several deleted runs have the same id, the run deleted last is restored."""
    matching = {
        deleted.run.directory.name: deleted.run
        for deleted in list_deleted_runs()
        if deleted.run.directory.name.startswith(name)
    }
    if len(matching) != 1 and name not in matching:
        problem = "no deleted run matches" if not matching else f"{len(matching)} deleted runs start with"
        raise UsageError(f"{problem} {name!r}", hint=_DELETED)
    directory = matching[name].directory if name in matching else next(iter(matching.values())).directory
    target = runs_home() / directory.name
    if target.exists():
        raise UsageError(f"{target} already exists", hint="Delete or move that run first.")
    _move(directory, target)
    with contextlib.suppress(OSError):  # the folder is not empty if other runs were deleted at the same time
        directory.parent.rmdir()
    return target


def purge(now: datetime) -> list[str]:
    """Permanently delete runs that have been in the trash for more than 30 days, and return their
    names."""
    purged = []
    for folder, deleted_at in _folders():
        if now - deleted_at > RETENTION:
            purged += sorted(path.name for path in folder.iterdir())
            try:
                shutil.rmtree(folder)
            except OSError as error:
                raise UsageError(f"{folder} cannot be removed: {error.strerror}") from error
    return purged


def _trash() -> Path:
    return runs_home() / _FOLDER


def _folders() -> list[tuple[Path, datetime]]:
    """Return the trash folders with their time of deletion, oldest first. Other files in the trash
    are ignored."""
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
