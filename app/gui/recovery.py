"""Recovery of runs that the previous window left behind: runs that are still in progress, and runs
that were interrupted because their process ended."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, QSettings, QTimer, Signal

from app.gui.background import submit
from app.gui.engine.launch import EngineProcess, build_not_resumed_notice, start_engine
from app.gui.navigation import Launch, Navigation

if TYPE_CHECKING:
    from app.gui.engine.reaper import Reaper
    from app.storage.run_states import UnfinishedRun

_DISMISSED_KEY = "recovery/dismissed"
_MAX_DISMISSED_RUNS = 200
_POLL_MS = 100


class Recovery(QObject):
    """Runs that the previous window left behind, and the actions on these runs.

    Call `refresh` once at startup. The Home page shows the runs emitted by
    `unfinished_runs_changed`, and its buttons call the methods of this class.
    """

    unfinished_runs_changed = Signal(object)
    """Signal that is emitted with a tuple of `UnfinishedRun` (runs in progress first, then newest
    first) when the runs have been read and whenever a run leaves the list."""

    def __init__(self, navigation: Navigation, settings: QSettings, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._navigation, self._settings = navigation, settings
        self._unfinished_runs: tuple[UnfinishedRun, ...] = ()
        self._excluded_directories: set[Path] = set()
        self.is_measuring: Callable[[], bool] = lambda: False
        """Callback that returns whether this window is measuring. During a measurement, no run is
        resumed, because two concurrent runs would disturb each other."""
        self._reaper: Reaper | None = None
        self._resumed_engine: EngineProcess | None = None
        self._resume_timer = QTimer(self, interval=_POLL_MS)
        self._resume_timer.timeout.connect(self._poll_resumed_engine)

    @property
    def unfinished_runs(self) -> tuple[UnfinishedRun, ...]:
        return self._unfinished_runs

    def refresh(self) -> None:
        submit(self, _find_unfinished_runs, self._set_unfinished_runs, self._navigation.notify_error)

    def exclude(self, directory: Path) -> None:
        """Exclude a run from the unfinished runs, for example because the run was started in this
        window."""
        self._excluded_directories.add(directory)
        self._remove_from_list(directory)

    def watch(self, directory: Path) -> None:
        self._remove_from_list(directory)
        self._navigation.watch_run_requested.emit(directory)

    def resume(self, directory: Path) -> None:
        """Resume the run after its last complete stage, and show the run on the Live page."""
        if self.is_measuring():
            message = "Another run is in progress."
            self._navigation.notify("warning", message, None, "Resume this run after the other run has finished.")
            return
        try:
            engine = start_engine(Launch(("runs", "resume", str(directory)), directory, directory.name, "resume"))
        except OSError as error:
            self._navigation.notify_error(error)
            return
        self.exclude(directory)
        self._resumed_engine = engine
        self._resume_timer.start()

    def _poll_resumed_engine(self) -> None:
        engine = self._resumed_engine
        if engine is None:
            return
        from app.gui.engine.reaper import Reaper
        from app.storage.run_states import find_run_state

        exit_code, run_state = engine.poll(), find_run_state(engine.directory)
        if run_state == "interrupted" and exit_code is None:
            return
        self._resume_timer.stop()
        self._resumed_engine = None
        if run_state == "running":
            self._reaper = self._reaper or Reaper(self)
            self._reaper.add(engine)
            self._navigation.watch_run_requested.emit(engine.directory)
        elif run_state == "ended":
            self._navigation.open_run_requested.emit(engine.directory)
        else:
            self._navigation.notice_emitted.emit(build_not_resumed_notice(engine))
            self._excluded_directories.discard(engine.directory)
            self.refresh()

    def open_results(self, directory: Path) -> None:
        """Show the results of the run, computed from the stored data."""
        self.dismiss(directory)
        self._navigation.open_run_requested.emit(directory)

    def dismiss(self, directory: Path) -> None:
        """Stop showing the run as unfinished. The files of the run are not changed."""
        dismissed_names = [*_parse_string_list(self._settings.value(_DISMISSED_KEY)), directory.name]
        self._settings.setValue(_DISMISSED_KEY, dismissed_names[-_MAX_DISMISSED_RUNS:])
        self._remove_from_list(directory)

    def discard(self, directory: Path) -> None:
        """Move the run to the trash. `undo_discard` restores the run."""
        self._remove_from_list(directory)
        submit(self, lambda: _move_to_trash(directory), self._on_discarded, self._navigation.notify_error)

    def undo_discard(self, name: str) -> None:
        submit(self, lambda: _restore_run(name), self._on_restored, self._navigation.notify_error)

    discarded = Signal(str)
    """Signal that is emitted with the name of a run that was moved to the trash."""

    def _set_unfinished_runs(self, unfinished_runs: Sequence[UnfinishedRun]) -> None:
        dismissed_names = set(_parse_string_list(self._settings.value(_DISMISSED_KEY)))
        visible_runs = [
            run
            for run in unfinished_runs
            if run.directory.name not in dismissed_names and run.directory not in self._excluded_directories
        ]
        self._unfinished_runs = tuple(sorted(visible_runs, key=lambda run: run.state != "running"))
        self.unfinished_runs_changed.emit(self._unfinished_runs)

    def _remove_from_list(self, directory: Path) -> None:
        remaining_runs = tuple(run for run in self._unfinished_runs if run.directory != directory)
        if remaining_runs != self._unfinished_runs:
            self._unfinished_runs = remaining_runs
            self.unfinished_runs_changed.emit(remaining_runs)

    def _on_discarded(self, name: str) -> None:
        self.discarded.emit(name)
        self._navigation.library_changed.emit()

    def _on_restored(self, directory: Path) -> None:
        self._navigation.notify("news", f"{directory.name} was restored.")
        self._navigation.library_changed.emit()
        self.refresh()


def _find_unfinished_runs() -> tuple[UnfinishedRun, ...]:
    from app.storage.run_states import find_unfinished_runs

    return find_unfinished_runs(datetime.now(UTC))


def _move_to_trash(directory: Path) -> str:
    from app.storage.run_directory import StoredRun
    from app.storage.trash import delete_runs

    delete_runs([StoredRun(directory)], datetime.now(UTC))
    return directory.name


def _restore_run(name: str) -> Path:
    from app.storage.trash import restore_run

    return restore_run(name)


def _parse_string_list(value: object) -> list[str]:
    """Return a stored list of strings. QSettings returns a string for a list with one entry, and
    None for an empty list."""
    if isinstance(value, str):
        return [value]
    return [str(item) for item in value] if isinstance(value, list) else []
