"""What the chosen model's file holds, and which cards it fits: read, never run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from PySide6.QtWidgets import QFrame, QVBoxLayout

from app.gui.background import Latest
from app.gui.formatting import count, number, size
from app.gui.navigation import notice_of
from app.gui.widgets import label
from app.records.model import GivenShapes, ModelInspection, ModelValue

_MOST_VALUES, _MOST_CARDS, _LONGEST = 4, 5, 60


class ModelCard(QFrame):
    def __init__(self) -> None:
        super().__init__()
        self.setProperty("role", "card")
        self.setAccessibleName("The chosen model")
        self._path: Path | None = None
        self._title, self._text = label("", "heading"), label("", wrap=True)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(14, 10, 14, 10)
        layout.addWidget(self._title)
        layout.addWidget(self._text)
        self._latest: Latest[ModelInspection] = Latest(self, self._show, self._fail)
        self.hide()

    @property
    def text(self) -> str:
        return self._text.text()

    def inspect(self, path: Path | None) -> None:
        self.setVisible(path is not None)
        if path is None or path == self._path:
            return
        self._path = path
        self._title.setText(path.name[:_LONGEST])
        self._text.setText("Reading the model…")
        self._latest.ask(lambda: _inspect(path))

    def _show(self, inspection: ModelInspection) -> None:
        self._text.setText("\n".join(inspection_lines(inspection)))

    def _fail(self, error: Exception) -> None:
        self._path = None  # the next look tries again
        notice = notice_of(error)
        self._text.setText(" ".join(one for one in (notice.what, notice.next_step) if one))


def inspection_lines(inspection: ModelInspection) -> Iterator[str]:
    facts = inspection.model
    yield f"In: {_values(facts.inputs)}. Out: {_values(facts.outputs)}."
    opsets = ", ".join(f"{domain} {version}" for domain, version in facts.opsets.items())
    parameters, nodes = count(facts.parameters.count), count(facts.nodes)
    yield f"{parameters} parameters, {size(facts.size_bytes)}, opset {opsets}, {nodes} operators"
    if facts.costs:
        cost = facts.costs[0]
        gflop, memory = number(cost.flops / 1e9), size(cost.memory_bytes)
        yield f"One inference of batch {cost.batch}: {gflop} GFLOP, {memory} of memory"
    elif facts.cost_reason:
        yield f"Cost of an inference n/a: {facts.cost_reason[:200]}"
    fitting = [card.name for card in inspection.cards if card.largest_batch is not None]
    if inspection.cards:
        names = ", ".join(fitting[:_MOST_CARDS])
        yield (
            f"Fits {len(fitting)} of {len(inspection.cards)} known cards: {names}…"
            if fitting
            else f"Fits none of {len(inspection.cards)} known cards."
        )


def _values(values: tuple[ModelValue, ...]) -> str:
    told = [f"{one.name[:_LONGEST]} {one.dtype}{_shape(one)}" for one in values[:_MOST_VALUES]]
    left = len(values) - len(told)
    return ", ".join([*told, *([f"{left} more"] if left else [])]) or "nothing"


def _shape(value: ModelValue) -> str:
    return "" if value.shape is None else f" [{' × '.join(str(one)[:_LONGEST] for one in value.shape)}]"


def _inspect(path: Path) -> ModelInspection:
    from app.wiring.inspecting import inspect_with_cards

    return inspect_with_cards(path, GivenShapes({}, {}))
