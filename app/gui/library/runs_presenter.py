"""The stored runs as a list, and what can be done to them: as `sizewise runs` does it.

Changes of the stored runs, one after the other in the background: no undo overtakes what it undoes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from PySide6.QtCore import QObject, Signal
from PySide6.QtGui import QUndoCommand, QUndoStack

from app.gui.background import Latest, submit
from app.gui.library.listed import Listed, listed_runs
from app.gui.navigation import Notice, notice_of
from app.reporting.run_rows import DeletedRow, deleted_rows, run_rows

Step = tuple[Callable[[], object], Callable[[object], object], Callable[[Exception], object]]


class Steps(QObject):
    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self._waiting: deque[Step] = deque()
        self.is_busy = False

    def do(
        self,
        function: Callable[[], object],
        on_done: Callable[[object], object],
        on_error: Callable[[Exception], object],
    ) -> None:
        self._waiting.append((function, on_done, on_error))
        if not self.is_busy:
            self._begin()

    def _begin(self) -> None:
        if not self._waiting:
            return
        function, on_done, on_error = self._waiting.popleft()
        self.is_busy = True

        def done(outcome: object) -> None:
            self.is_busy = False
            on_done(outcome)
            self._begin()

        def failed(error: Exception) -> None:
            self.is_busy = False
            on_error(error)
            self._begin()

        submit(self, function, done, failed)


_SLICE_S = 0.5
"""What is listed at once; runs that no index knows are read in the next slices."""


class RunsPresenter(QObject):
    """`listed` comes again until every run is read; what is told may be undone where its second word is true."""

    listed = Signal(object)
    trash_listed = Signal(object)
    """A tuple of DeletedRow."""
    told = Signal(object, bool)
    changed = Signal()
    """Runs came, went, or were labelled by this window."""
    imported = Signal(object)
    """The directory of a run that is here now."""

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self.undo = QUndoStack(self)
        self._steps = Steps(self)
        self._latest: Latest[Listed] = Latest(self, self._show, self._fail)
        self._trash: Latest[tuple[DeletedRow, ...]] = Latest(self, self.trash_listed.emit, self._fail)

    @property
    def is_busy(self) -> bool:
        return self._latest.is_busy or self._trash.is_busy or self._steps.is_busy

    def refresh(self) -> None:
        self._latest.ask(lambda: listed_runs(run_rows(within_s=_SLICE_S)))

    def refresh_trash(self) -> None:
        self._trash.ask(deleted_rows)

    def delete(self, directories: Sequence[Path]) -> None:
        names = [directory.name for directory in directories]
        said = f"{names[0]} is deleted." if len(names) == 1 else f"{len(names)} runs are deleted."
        notice = Notice("news", said, None, "The trash keeps it for 30 days.")
        self._change("Delete", lambda: _delete(directories), lambda: _restore(names), notice)

    def restore(self, names: Sequence[str]) -> None:
        notice = Notice("news", f"{', '.join(names)} is back.")
        self._do(lambda: _restore(names), lambda _: self._tell(notice))

    def set_title(self, directory: Path, title: str, before: str) -> None:
        """`before` is what undoing puts back."""
        if title != before:
            ways = (lambda: _set_title(directory, title)), (lambda: _set_title(directory, before))
            self._change("Title", *ways, None)

    def add_tags(self, directory: Path, tags: Sequence[str]) -> None:
        if tags:
            self._change("Tag", lambda: _add_tags(directory, tags), lambda: _remove_tags(directory, tags), None)

    def remove_tags(self, directory: Path, tags: Sequence[str]) -> None:
        if tags:
            ways = (lambda: _remove_tags(directory, tags)), (lambda: _add_tags(directory, tags))
            self._change("Take the tag away", *ways, None)

    def add_note(self, directory: Path, text: str) -> None:
        self._do(lambda: _add_note(directory, text), lambda _: self._tell(Notice("news", "Noted.")))

    def promote(self, directory: Path) -> None:
        self._do(lambda: _promote(directory), lambda said: self._tell(Notice("news", str(said))))

    def export(self, directory: Path, path: Path) -> None:
        self._do(lambda: _export(directory, path), lambda said: self._tell(Notice("news", str(said))))

    def import_path(self, path: Path) -> None:
        self._do(lambda: _import(path), self._imported)

    def _change(self, text: str, do: Callable[[], object], undo: Callable[[], object], notice: Notice | None) -> None:
        self.undo.push(_Change(text, self, (do, undo), notice))

    def step(self, change: _Change, function: Callable[[], object], notice: Notice | None) -> None:
        """One way of a change that can be undone."""

        def failed(error: Exception) -> None:
            change.setObsolete(True)
            self._fail_to_change(error)

        self._steps.do(function, lambda _: self._done(notice, can_undo=notice is not None), failed)

    def _do(self, function: Callable[[], object], on_done: Callable[[object], object]) -> None:
        def done(outcome: object) -> None:
            on_done(outcome)
            self._done(None)

        self._steps.do(function, done, self._fail_to_change)

    def _imported(self, outcome: object) -> None:
        assert isinstance(outcome, tuple)
        directory, is_new = outcome
        said = "{name} is imported." if is_new else "{name} is there already, and is the same run."
        self._tell(Notice("news", said.format(name=directory.name)))
        self.imported.emit(directory)

    def _done(self, notice: Notice | None, *, can_undo: bool = False) -> None:
        if notice is not None:
            self._tell(notice, can_undo=can_undo)
        self.changed.emit()
        self.refresh()
        self.refresh_trash()

    def _tell(self, notice: Notice, *, can_undo: bool = False) -> None:
        self.told.emit(notice, can_undo)

    def _fail(self, error: Exception) -> None:
        self.told.emit(notice_of(error), False)

    def _fail_to_change(self, error: Exception) -> None:
        """What was done before it failed is shown."""
        self._fail(error)
        self.refresh()

    def _show(self, listed: Listed) -> None:
        self.listed.emit(listed)
        if listed.unread:
            self.refresh()


class _Change(QUndoCommand):
    def __init__(
        self,
        text: str,
        presenter: RunsPresenter,
        ways: tuple[Callable[[], object], Callable[[], object]],
        notice: Notice | None,
    ) -> None:
        super().__init__(text)
        self._presenter, self._notice = presenter, notice
        self._do, self._undo = ways

    def redo(self) -> None:
        if not self.isObsolete():
            self._presenter.step(self, self._do, self._notice)

    def undo(self) -> None:
        if not self.isObsolete():
            self._presenter.step(self, self._undo, None)


def _delete(directories: Iterable[Path]) -> None:
    from app.storage.run_directory import StoredRun
    from app.storage.trash import delete_runs

    delete_runs([StoredRun(directory) for directory in directories], datetime.now(UTC))


def _restore(names: Iterable[str]) -> None:
    from app.storage.trash import restore_run

    for name in names:
        restore_run(name)


def _set_title(directory: Path, title: str) -> None:
    from app.storage.labels import set_title

    set_title(directory, title)


def _add_tags(directory: Path, tags: Iterable[str]) -> None:
    from app.storage.labels import add_tags

    add_tags(directory, tags)


def _remove_tags(directory: Path, tags: Iterable[str]) -> None:
    from app.storage.labels import remove_tags

    remove_tags(directory, tags)


def _add_note(directory: Path, text: str) -> None:
    from app.wiring.stored_runs import note_run

    note_run(directory, text, datetime.now(UTC))


def _promote(directory: Path) -> str:
    from app.storage.baselines import promote
    from app.storage.run_directory import StoredRun

    result = promote(StoredRun(directory))
    return f"{result.run_id} is the baseline of {result.name} now."


def _export(directory: Path, path: Path) -> str:
    from app.storage.run_directory import StoredRun
    from app.wiring.sharing_runs import share_run

    bundle = share_run(StoredRun(directory), path)
    return f"{bundle.run_id} is in {path}."


def _import(path: Path) -> tuple[Path, bool]:
    from app.wiring.sharing_runs import take_run

    return take_run(path)
