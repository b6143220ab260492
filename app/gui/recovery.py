"""Runs that the last window left behind: going on, or cut short with their engine gone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, QSettings, QTimer, Signal

from app.gui.background import submit
from app.gui.engine.launch import EngineProcess, start_engine, tell_not_resumed
from app.gui.navigation import Launch, Navigation

if TYPE_CHECKING:
    from app.gui.engine.reaping import Reaper
    from app.storage.endings import Unfinished

_KEY = "recovery/dismissed"
_MOST_REMEMBERED = 200
_LOOK_MS = 100


class Recovery(QObject):
    """`look` once at the start; Home shows what `found` tells, and calls what its buttons say."""

    found = Signal(object)
    """A tuple of Unfinished: those going on first, then the newest. Told again when one of them is dealt with."""

    def __init__(self, navigation: Navigation, settings: QSettings, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._navigation, self._settings = navigation, settings
        self._unfinished: tuple[Unfinished, ...] = ()
        self._own: set[Path] = set()
        self.is_measuring: Callable[[], bool] = lambda: False
        """Whether this window measures: runs that go on at once would disturb each other."""
        self._reaper: Reaper | None = None
        self._resumed: EngineProcess | None = None
        self._until_it_runs = QTimer(self, interval=_LOOK_MS)
        self._until_it_runs.timeout.connect(self._look_at_resumed)

    @property
    def unfinished(self) -> tuple[Unfinished, ...]:
        return self._unfinished

    def look(self) -> None:
        submit(self, _unfinished_now, self._take, self._navigation.tell_error)

    def leave_out(self, directory: Path) -> None:
        """A run that this window started is no find."""
        self._own.add(directory)
        self._forget(directory)

    def attach(self, directory: Path) -> None:
        self._forget(directory)
        self._navigation.run_watched.emit(directory)

    def resume(self, directory: Path) -> None:
        """Continue it after its last complete stage, and show it in Live."""
        if self.is_measuring():
            what = "Another run is being measured."
            self._navigation.tell("warning", what, None, "Resume this one when that has ended.")
            return
        try:
            engine = start_engine(Launch(("runs", "resume", str(directory)), directory, directory.name, "resume"))
        except OSError as error:
            self._navigation.tell_error(error)
            return
        self.leave_out(directory)
        self._resumed = engine
        self._until_it_runs.start()

    def _look_at_resumed(self) -> None:
        engine = self._resumed
        if engine is None:
            return
        from app.gui.engine.reaping import Reaper
        from app.storage.endings import ending_of

        code, ending = engine.poll(), ending_of(engine.directory)
        if ending == "cut short" and code is None:
            return
        self._until_it_runs.stop()
        self._resumed = None
        if ending == "running":
            self._reaper = self._reaper or Reaper(self)
            self._reaper.keep(engine)
            self._navigation.run_watched.emit(engine.directory)
        elif ending == "ended":
            self._navigation.run_opened.emit(engine.directory)
        else:
            self._navigation.told.emit(tell_not_resumed(engine))
            self._own.discard(engine.directory)
            self.look()

    def see(self, directory: Path) -> None:
        """What it measured is worked out of its facts."""
        self.dismiss(directory)
        self._navigation.run_opened.emit(directory)

    def dismiss(self, directory: Path) -> None:
        """It is not asked about again; it stays where it is."""
        kept = [*_texts(self._settings.value(_KEY)), directory.name]
        self._settings.setValue(_KEY, kept[-_MOST_REMEMBERED:])
        self._forget(directory)

    def discard(self, directory: Path) -> None:
        """To the trash, from which `undo_discard` brings it back."""
        self._forget(directory)
        submit(self, lambda: _discarded(directory), self._tell_discarded, self._navigation.tell_error)

    def undo_discard(self, name: str) -> None:
        submit(self, lambda: _restored(name), self._tell_restored, self._navigation.tell_error)

    discarded = Signal(str)
    """The name of a run that is in the trash now."""

    def _take(self, unfinished: Sequence[Unfinished]) -> None:
        dismissed = set(_texts(self._settings.value(_KEY)))
        wanted = [one for one in unfinished if one.directory.name not in dismissed and one.directory not in self._own]
        self._unfinished = tuple(sorted(wanted, key=lambda one: one.ending != "running"))
        self.found.emit(self._unfinished)

    def _forget(self, directory: Path) -> None:
        left = tuple(one for one in self._unfinished if one.directory != directory)
        if left != self._unfinished:
            self._unfinished = left
            self.found.emit(left)

    def _tell_discarded(self, name: str) -> None:
        self.discarded.emit(name)
        self._navigation.library_changed.emit()

    def _tell_restored(self, directory: Path) -> None:
        self._navigation.tell("news", f"{directory.name} is back.")
        self._navigation.library_changed.emit()
        self.look()


def _unfinished_now() -> tuple[Unfinished, ...]:
    from app.storage.endings import unfinished_runs

    return unfinished_runs(datetime.now(UTC))


def _discarded(directory: Path) -> str:
    from app.storage.run_directory import StoredRun
    from app.storage.trash import delete_runs

    delete_runs([StoredRun(directory)], datetime.now(UTC))
    return directory.name


def _restored(name: str) -> Path:
    from app.storage.trash import restore_run

    return restore_run(name)


def _texts(value: object) -> list[str]:
    """QSettings gives one text where a list had one, and nothing where it had none."""
    if isinstance(value, str):
        return [value]
    return [str(one) for one in value] if isinstance(value, list) else []
