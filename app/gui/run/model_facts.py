"""What an inspection found, as a tree of names and values, and as estimates of memory. Pure.

A model looked into, and this machine's providers tried: in the background, by children of limited
means.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from PySide6.QtCore import QObject, Signal

from app.gui.background import Latest
from app.gui.formatting import NOT_AVAILABLE, count, number, size, with_unit
from app.records.model import CardFit, GivenShapes, ModelFacts, ModelInspection, ModelValue

if TYPE_CHECKING:
    from app.wiring.impossible_cells import LocalMachine


_TOP_OPERATORS = 8
_LONGEST = 200
_GIB = 2**30


class Branch(msgspec.Struct, frozen=True):
    name: str
    value: str = ""
    below: tuple[Branch, ...] = ()


class Fit(msgspec.Struct, frozen=True):
    """Of one batch and precision: what it takes, and where it does not fit."""

    batch: int
    precision: str
    needed_bytes: int | None
    too_small: tuple[str, ...]
    """Names of the places of this machine that have less."""


def branches_of(inspection: ModelInspection) -> tuple[Branch, ...]:
    facts = inspection.model
    return tuple(_branches(facts, inspection))


def _branches(facts: ModelFacts, inspection: ModelInspection) -> Iterator[Branch]:
    yield Branch("Inputs", count(len(facts.inputs)), tuple(_value(one) for one in facts.inputs))
    yield Branch("Outputs", count(len(facts.outputs)), tuple(_value(one) for one in facts.outputs))
    yield _axes(facts)
    opsets = ", ".join(f"{domain} {version}" for domain, version in facts.opsets.items())
    yield Branch("Opset", _short(f"{opsets} (IR version {facts.ir_version})"))
    yield Branch("Size", size(facts.size_bytes))
    yield Branch(
        "External files",
        count(len(facts.external_files)) if facts.external_files else "none: all weights are in this file",
        tuple(Branch(_short(one.name), size(one.size_bytes)) for one in facts.external_files),
    )
    parameters = facts.parameters
    by_dtype = ", ".join(f"{size(of)} {dtype}" for dtype, of in parameters.bytes_by_dtype.items())
    yield Branch("Parameters", f"{count(parameters.count)}{f' ({by_dtype})' if by_dtype else ''}")
    yield _costs(facts)
    yield Branch("Operators", f"{count(facts.nodes)} nodes", tuple(_operators(facts)))
    yield from _cards(inspection)
    yield Branch("Made by", _short(facts.producer or NOT_AVAILABLE))
    yield Branch("SHA-256", facts.sha256)


def _value(one: ModelValue) -> Branch:
    shape = NOT_AVAILABLE if one.shape is None else " × ".join(map(str, one.shape)) or "one number"
    return Branch(_short(one.name), _short(f"{one.dtype}, {shape}"))


def _axes(facts: ModelFacts) -> Branch:
    below = [Branch(_short(axis), "filled by the batch") for axis in facts.batch_axes]
    below += [Branch(_short(axis), f"length {count(of)}") for axis, of in facts.axes.items()]
    below += [Branch(_short(axis), "open: give it a length") for axis in open_axes(facts)]
    return Branch("Dynamic axes", count(len(below)) if below else "none", tuple(below))


def open_axes(facts: ModelFacts) -> tuple[str, ...]:
    """Those that are neither filled by the batch nor given a length."""
    found = {axis for one in facts.inputs for axis in one.shape or () if isinstance(axis, str)}
    return tuple(sorted(found - set(facts.batch_axes) - set(facts.axes)))


def _costs(facts: ModelFacts) -> Branch:
    if not facts.costs:
        return Branch("FLOPs and memory", _short(f"{NOT_AVAILABLE}: {facts.cost_reason}"))
    least = "≥ " if facts.unknown_nodes else ""
    below = tuple(
        Branch(
            f"batch {cost.batch}",
            "{flops} FLOPs, {memory} of memory, {moved} moved".format(
                flops=f"{least}{amount(cost.flops)}", memory=size(cost.memory_bytes), moved=size(cost.moved_bytes)
            ),
        )
        for cost in facts.costs
    )
    first = facts.costs[0]
    said = "{flops} FLOPs an inference of batch {batch}".format(
        flops=f"{least}{amount(first.flops)}", batch=first.batch
    )
    return Branch("FLOPs and memory", said, below)


def _operators(facts: ModelFacts) -> Iterator[Branch]:
    for one in facts.operators[:_TOP_OPERATORS]:
        flops = "" if one.flops is None else f", {amount(one.flops)} FLOPs" if one.flops else ""
        yield Branch(_short(one.operator), count(one.nodes) + flops)
    left = facts.operators[_TOP_OPERATORS:]
    if left:
        yield Branch("others", count(sum(one.nodes for one in left)))


def _cards(inspection: ModelInspection) -> Iterator[Branch]:
    here = [card for card in inspection.cards if card.is_here]
    below = tuple(Branch(card.name, _card_text(card)) for card in here)
    said = count(len(here)) if here else _short(inspection.gpu_note or "none is seen here")
    yield Branch("GPUs of this machine", said, below)


def _card_text(card: CardFit) -> str:
    if card.largest_batch is None:
        return "does not fit"
    memory = number(card.memory_gib)
    return f"batch {card.largest_batch} fits in {memory} GiB"


def fits_of(
    inspection: ModelInspection, batches: Sequence[int], precisions: Sequence[str], free_bytes: int | None
) -> tuple[Fit, ...]:
    """`free_bytes` is the machine's memory; GPUs are the inspection's own, with a tenth kept free."""
    from app.wiring.impossible_cells import memory_of
    from app.wiring.inspecting import USED_SHARE

    rooms = [("this machine's memory", free_bytes)] if free_bytes is not None else []
    rooms += [(card.name, round(card.memory_gib * _GIB * USED_SHARE)) for card in inspection.cards if card.is_here]
    found = []
    for precision in precisions:
        for batch in batches:
            needed = memory_of(inspection.model, batch, precision)
            small = () if needed is None else tuple(name for name, room in rooms if room < needed)
            found.append(Fit(batch, precision, needed, small))
    return tuple(found)


def fit_text(fit: Fit) -> str:
    if fit.needed_bytes is None:
        return NOT_AVAILABLE
    needed = size(fit.needed_bytes)
    if not fit.too_small:
        return f"about {needed}, fits"
    return "about {needed}, does not fit {where}".format(needed=needed, where=", ".join(fit.too_small))


def amount(value: int) -> str:
    """With a decimal prefix: 8.18 G."""
    for prefix, scale in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= scale:
            return with_unit(number(value / scale), prefix)
    return count(value)


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


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
