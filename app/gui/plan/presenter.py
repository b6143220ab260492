"""A plan's question, its edits and its answers: edits in, plain state out."""

from __future__ import annotations

import datetime
import itertools
from functools import partial
from pathlib import Path
from threading import Event

import msgspec
from PySide6.QtCore import QObject, QTimer, Signal
from PySide6.QtGui import QUndoCommand, QUndoStack

from app.errors import SizewiseError
from app.gui.background import Latest, submit
from app.gui.plan.answering import PlanOutcome, answer, changed_by, compile_simulator, load
from app.gui.plan.hardware_choices import with_hardware
from app.gui.plan.state import NOTHING, Change, Edits, Loaded, PlanState, command_of, request_with
from app.planning.goals import always
from app.records.plan_question import PlanQuestion
from app.wiring.parts import wall_now
from app.wiring.planning import NoHardwareError, PlanRequest

QUIET_MS = 300
"""After the last edit, until the simulation settles the answer."""
_strokes = itertools.count(1)


def new_stroke() -> int:
    return next(_strokes)


class PlanPresenter(QObject):
    """Previews come at once and the simulated answer after a while of quiet; an answer to what is no longer asked is
    dropped."""

    changed = Signal(object)
    """A PlanState."""

    def __init__(self, parent: QObject | None = None, quiet_ms: int = QUIET_MS) -> None:
        super().__init__(parent)
        self.state = PlanState()
        self.undo = QUndoStack(self)
        self._asked: PlanRequest | None = None
        self._loading: Latest[Loaded] = Latest(self, self._loaded, self._not_loaded)
        self._preview: Latest[tuple[Edits, PlanOutcome]] = Latest(self, self._previewed, self._not_answered)
        self._full: Latest[tuple[Edits, PlanOutcome]] = Latest(self, self._settled, self._not_answered)
        self._outdated = Event()
        self._quiet = QTimer(self, singleShot=True)
        self.settle_after(quiet_ms)
        self._quiet.timeout.connect(self._settle)

    @property
    def today(self) -> datetime.date:
        return wall_now().date()

    def settle_after(self, quiet_ms: int) -> None:
        """The simulation begins once nothing was edited for so long."""
        self._quiet.setInterval(quiet_ms)

    def warm(self) -> None:
        """Compiles the simulator, once."""
        if self.state.kernels == "unknown":
            self._become(kernels="compiling")
            submit(self, compile_simulator, self._compiled, self._not_compiled)

    def open(self, request: PlanRequest) -> None:
        """What was edited before is gone with its undo: it was of other sources."""
        self._forget()
        self.undo.clear()
        self.state = PlanState(phase="loading", kernels=self.state.kernels)
        self._asked = request
        self._tell()
        today = self.today
        self._loading.ask(lambda: load(request, today))

    def place(self, hardware: tuple[str, ...]) -> None:
        """What was asked for, on what the user says that it ran on: keys of `target.hardware` as `--set` takes them."""
        if self.state.unplaced is not None:
            self.open(with_hardware(self.state.unplaced, hardware))

    def close(self) -> None:
        """Back to no sources."""
        self._forget()
        self._loading.forget()
        self.undo.clear()
        self.state = PlanState(kernels=self.state.kernels)
        self._tell()

    def change(self, change: Change) -> None:
        """One step of undo; nothing, where it leaves all as it is."""
        after = self.state.edits.after(change)
        if self.state.loaded is not None and after != self.state.edits:
            self.undo.push(_Step(self, change, self.state.edits, after))

    def reset(self) -> None:
        """Back to the sources' own question, in one step."""
        if self.state.edits != NOTHING:
            self.undo.push(_Step(self, Change("Reset"), self.state.edits, NOTHING))

    def add_prices(self, path: Path) -> None:
        words = f"price list {path.name}"
        kept = tuple(one for one in self.state.edits.prices if one != path)
        self.change(Change(words, prices=(*kept, path)))

    def request(self) -> PlanRequest | None:
        """With all edits in it."""
        loaded = self.state.loaded
        return None if loaded is None else request_with(loaded.request, self.state.edits)

    def command_line(self) -> str | None:
        request = self.request()
        return None if request is None else command_of(request)

    def put(self, edits: Edits) -> None:
        """Asked again with these edits; called by the undo stack."""
        loaded = self.state.loaded
        if loaded is None:
            return
        self._forget()
        question = self.state.question
        try:
            question = changed_by(self._seen(loaded.question, edits), edits)
        except SizewiseError as error:
            if not edits.prices:  # else it may be of an offer that is read with the answer, which tells
                self._become(edits=edits, error=error, is_current=False)
                return
        self._become(edits=edits, question=question, error=None, is_current=False, relaxations=None)
        self._ask()

    def _seen(self, question: PlanQuestion, edits: Edits) -> PlanQuestion:
        """With the offers of price lists that the last answer has read."""
        if not edits.prices or self.state.question is None:
            return question
        return msgspec.structs.replace(question, catalogue=self.state.question.catalogue)

    def _ask(self) -> None:
        assert self.state.loaded is not None
        self._preview.ask(partial(_answered, self.state.loaded, self.state.edits, self.today, True))
        self._quiet.start()

    def _settle(self) -> None:
        if self.state.loaded is not None:
            self._outdated = Event()
            self._full.ask(partial(_answered, self.state.loaded, self.state.edits, self.today, False, self._outdated))

    def _forget(self) -> None:
        self._quiet.stop()
        self._outdated.set()
        self._preview.forget()
        self._full.forget()

    def _loaded(self, loaded: Loaded) -> None:
        self._become(phase="planning", loaded=loaded, question=loaded.question, error=None)
        self._ask()

    def _not_loaded(self, error: Exception) -> None:
        unplaced = self._asked if isinstance(error, NoHardwareError) else None
        self._become(phase="failed", error=error, unplaced=unplaced)

    def _previewed(self, outcome: tuple[Edits, PlanOutcome]) -> None:
        edits, found = outcome
        is_late = self.state.phase == "simulated" and self.state.is_current
        if edits == self.state.edits and not is_late:
            self._show(found, "preview")

    def _settled(self, outcome: tuple[Edits, PlanOutcome]) -> None:
        edits, found = outcome
        if edits == self.state.edits:
            self._show(found, "simulated")

    def _show(self, found: PlanOutcome, phase: str) -> None:
        relaxations = found.relaxations if phase == "simulated" else None
        self._become(
            phase=phase,
            question=found.question,
            plan=found.plan,
            is_current=True,
            took_ms=found.took_ms,
            error=None,
            relaxations=relaxations,
        )

    def _not_answered(self, error: Exception) -> None:
        self._quiet.stop()
        self._become(error=error, is_current=False)

    def _compiled(self, _: None) -> None:
        self._become(kernels="ready")

    def _not_compiled(self, error: Exception) -> None:
        self._become(kernels="ready", error=error)

    def _become(self, **changes: object) -> None:
        self.state = msgspec.structs.replace(self.state, **changes)
        self._tell()

    def _tell(self) -> None:
        self.changed.emit(self.state)


def _answered(
    loaded: Loaded, edits: Edits, today: datetime.date, preview: bool, outdated: Event | None = None
) -> tuple[Edits, PlanOutcome]:
    """A simulation that is outdated leaves the processor to the preview of what is asked now."""
    wanted = always if outdated is None else lambda: not outdated.is_set()
    return edits, answer(loaded, edits, today, preview=preview, wanted=wanted)


class _Step(QUndoCommand):
    def __init__(self, presenter: PlanPresenter, change: Change, before: Edits, after: Edits) -> None:
        super().__init__(change.words)
        self._presenter, self._stroke = presenter, change.stroke
        self._before, self._after = before, after

    def id(self) -> int:
        return self._stroke

    def mergeWith(self, other: QUndoCommand) -> bool:
        if not isinstance(other, _Step) or other._stroke != self._stroke:
            return False
        self._after = other._after
        self.setText(other.text())
        return True

    def redo(self) -> None:
        self._presenter.put(self._after)

    def undo(self) -> None:
        self._presenter.put(self._before)
