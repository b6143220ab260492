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
from app.storage.run_directory import StoredRun, remove_dead_links, runs_home

RETENTION = timedelta(days=30)
_FOLDER_NAME, _STAMP_FORMAT = ".trash", "%Y%m%dT%H%M%SZ"
_DELETED_HINT = "List the deleted runs with `sizewise runs list --deleted`."


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
    folder = _get_trash_folder() / now.astimezone(UTC).strftime(_STAMP_FORMAT)
    for run in runs:
        target = folder / run.directory.resolve().name
        if target.exists():  # the run was deleted, imported and deleted again within a second
            message = f"{target.name} cannot be deleted: a run of this name was deleted in the same second"
            raise UsageError(message, hint="Try again.")
        _move_directory(run.directory.resolve(), target)


def list_deleted_runs() -> list[DeletedRun]:
    """Return the deleted runs, ordered by time of deletion, oldest first."""
    runs = []
    for folder, deleted_at in _list_trash_folders():
        for path in sorted(folder.iterdir()):
            with contextlib.suppress(UsageError):  # the folder holds no run
                runs.append(DeletedRun(StoredRun(path), deleted_at))
    return runs


def restore_run(name: str) -> Path:
    """Restore a deleted run by its ID or a unique prefix of its ID, and return its directory. If
    several deleted runs have the same ID, the run deleted last is restored."""
    matches = {
        deleted_run.run.directory.name: deleted_run.run
        for deleted_run in list_deleted_runs()
        if deleted_run.run.directory.name.startswith(name)
    }
    if len(matches) != 1 and name not in matches:
        problem = (
            f"no deleted run matches {name!r}"
            if not matches
            else f"the run ID {name!r} is ambiguous: it matches {len(matches)} deleted runs"
        )
        raise UsageError(problem, hint=_DELETED_HINT)
    directory = matches[name].directory if name in matches else next(iter(matches.values())).directory
    remove_dead_links()
    target = runs_home() / directory.name
    if target.exists():
        raise UsageError(
            f"{directory.name} cannot be restored: {target} already exists", hint="Delete or move that run first."
        )
    _move_directory(directory, target)
    with contextlib.suppress(OSError):  # the folder is not empty if other runs were deleted at the same time
        directory.parent.rmdir()
    return target


def purge_trash(now: datetime) -> list[str]:
    """Permanently delete runs that have been in the trash for more than 30 days, and return their
    names."""
    purged_names = []
    for folder, deleted_at in _list_trash_folders():
        if now - deleted_at > RETENTION:
            purged_names += sorted(path.name for path in folder.iterdir())
            try:
                shutil.rmtree(folder)
            except OSError as error:
                raise UsageError(f"{folder} cannot be removed: {error.strerror}") from error
    return purged_names


def _get_trash_folder() -> Path:
    return runs_home() / _FOLDER_NAME


def _list_trash_folders() -> list[tuple[Path, datetime]]:
    """Return the trash folders with their time of deletion, oldest first. Other files in the trash
    are ignored."""
    folders = []
    for path in sorted(_get_trash_folder().glob("*Z")):
        with contextlib.suppress(ValueError):
            deleted_at = datetime.strptime(path.name, _STAMP_FORMAT).replace(tzinfo=UTC)
            if path.is_dir() and not path.is_symlink():
                folders.append((path, deleted_at))
    return folders


def _move_directory(source: Path, target: Path) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        source.rename(target)
    except OSError as error:
        raise UsageError(f"{source} cannot be moved to {target.parent}: {error.strerror}") from error
