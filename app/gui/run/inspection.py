"""A model looked into, and this machine's providers tried: in the background, by children of limited means."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from PySide6.QtCore import QObject, Signal

from app.gui.background import Latest
from app.records.model import GivenShapes, ModelInspection

if TYPE_CHECKING:
    from app.wiring.impossible_cells import LocalMachine


class Looked(msgspec.Struct, frozen=True):
    """What is known by now. `working` is None until the providers were tried; `refusal` is why the model is refused."""

    path: Path | None = None
    is_busy: bool = False
    inspection: ModelInspection | None = None
    refusal: Exception | None = None
    working: tuple[str, ...] | None = None
    refused: dict[str, str] = {}
    cores: int | None = None
    free_bytes: int | None = None
    machine_error: str | None = None


class Inspecting(QObject):
    """`changed` carries a Looked, whenever more is known. The same model is looked into once, until it changes."""

    changed = Signal(object)

    def __init__(self, owner: QObject) -> None:
        super().__init__(owner)
        self.looked = Looked()
        self._asked: tuple[object, ...] | None = None
        self._models = Latest(self, self._have_model, self._no_model)
        self._machine = Latest(self, self._have_machine, self._no_machine)
        self._has_asked_machine = False

    def ask(self, path: Path | None, axes: dict[str, int]) -> None:
        if not self._has_asked_machine:
            self._has_asked_machine = True
            self._machine.ask(_machine)
        asked = (path, tuple(sorted(axes.items())), _stamp(path))
        if asked == self._asked:
            return
        self._asked = asked
        self._models.forget()
        is_same = path == self.looked.path
        self._become(
            path=path, is_busy=path is not None, inspection=self.looked.inspection if is_same else None, refusal=None
        )
        if path is not None:
            given = GivenShapes(axes=dict(axes))
            self._models.ask(lambda: _inspection(path, given))

    def _have_model(self, found: ModelInspection) -> None:
        self._become(is_busy=False, inspection=found, refusal=None)

    def _no_model(self, error: Exception) -> None:
        self._become(is_busy=False, inspection=None, refusal=error)

    def _have_machine(self, machine: LocalMachine) -> None:
        self._become(
            working=machine.working,
            refused=dict(machine.refused),
            cores=machine.cores,
            free_bytes=machine.memory_bytes,
            machine_error=None,
        )

    def _no_machine(self, error: Exception) -> None:
        self._become(working=(), machine_error=str(error))

    def _become(self, **known: object) -> None:
        self.looked = msgspec.structs.replace(self.looked, **known)
        self.changed.emit(self.looked)


def _machine() -> LocalMachine:
    from app.wiring.impossible_cells import local_machine

    return local_machine()


def _inspection(path: Path, given: GivenShapes) -> ModelInspection:
    from app.wiring.inspecting import inspect_with_cards

    return inspect_with_cards(path, given)


def _stamp(path: Path | None) -> tuple[int, int] | None:
    """A file that was written anew is looked into anew."""
    try:
        found = None if path is None else path.stat()
    except OSError:
        return None
    return None if found is None else (found.st_mtime_ns, found.st_size)
