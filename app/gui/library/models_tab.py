"""The models there are: what a file holds is inspected when it is chosen.

What the chosen model's file holds, and which cards it fits: read, never run.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd
from PySide6.QtWidgets import QFrame, QWidget

from app.gui.background import Latest
from app.gui.formatting import NOT_AVAILABLE, count, number, size
from app.gui.library.files_kept import FilesKept, remembered
from app.gui.library.list_pane import ListPane
from app.gui.library.listed import bytes_text, moment
from app.gui.library.seen import SeenModel, models_seen
from app.gui.navigation import Navigation, notice_of
from app.gui.widgets import Empty, button, label, vbox
from app.records.model import GivenShapes, ModelInspection, ModelValue
from app.reporting.run_rows import RunRow

_MOST_VALUES, _MOST_CARDS, _LONGEST = 4, 5, 60


class ModelCard(QFrame):
    def __init__(self) -> None:
        super().__init__()
        self.setProperty("role", "card")
        self.setAccessibleName("The chosen model")
        self._path: Path | None = None
        self._title, self._text = label("", "heading"), label("", wrap=True)
        vbox(self._title, self._text, within=self, margins=(14, 10, 14, 10))
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


class ModelsTab(QWidget):
    def __init__(self, navigation: Navigation) -> None:
        super().__init__()
        self._navigation = navigation
        self._rows: Sequence[RunRow] = ()
        self._models: tuple[SeenModel, ...] = ()
        self.kept = FilesKept("models", "Models (*.onnx)", self)
        self._benchmark = button("&Benchmark this model", self.benchmark, primary=True)
        self.pane = ListPane(
            "Models",
            "ONNX models that come with Sizewise, that your runs measured, or that you added.",
            (_HEADERS, {"size": bytes_text, "last": moment, "carries": _or_nothing}),
            [self._benchmark],
            [self.kept.relocate_button, self.kept.forget_button, button("&Add a model…", self.kept.ask_add)],
            Empty("No model is known yet.", button("&Add a model…", self.kept.ask_add, primary=True)),
        )
        self.card = ModelCard()
        self.pane.below.addWidget(self.card)
        vbox(self.pane, within=self)
        self._seen: Latest[tuple[SeenModel, ...]] = Latest(self, self._show, navigation.tell_error)
        self.kept.changed.connect(self._look)
        self.pane.opened.connect(self.benchmark)
        self.pane.chosen_changed.connect(self._tell_chosen)

    def show_runs(self, rows: Sequence[RunRow]) -> None:
        self._rows = rows
        self._look()

    def chosen(self) -> SeenModel | None:
        place = self.pane.chosen()
        return None if place is None else self._models[place]

    def benchmark(self) -> None:
        model = self.chosen()
        if model is not None and model.path is not None and model.size_bytes is not None:
            self._navigation.model_opened.emit(model.path)

    def words_of_command(self) -> tuple[str, ...]:
        model = self.chosen() or next(iter(self._models), None)
        return ("models", "inspect", str(model.path if model and model.path else "digits"))

    def _look(self) -> None:
        rows, added = tuple(self._rows), remembered("models")
        self._seen.ask(lambda: models_seen(rows, added))

    def _show(self, models: tuple[SeenModel, ...]) -> None:
        if models != self._models or not models:
            self._models = models
            self.pane.set_frame(_frame(models))

    def _tell_chosen(self) -> None:
        model = self.chosen()
        has_file = model is not None and model.size_bytes is not None
        self._benchmark.setEnabled(has_file)
        own = model.path if model is not None and model.origin == "added" else None
        self.kept.show_file(own, is_missing=not has_file)
        self.card.inspect(_path_of(model))


def _path_of(model: SeenModel | None) -> Path | None:
    return model.path if model is not None and model.size_bytes is not None else None


_HEADERS = {
    "name": "Model",
    "origin": "From",
    "size": "Size",
    "runs": "Runs",
    "last": "Last measured",
    "carries": "Carried then",
    "file": "File",
}


def _frame(models: Sequence[SeenModel]) -> pd.DataFrame:
    origins = {"bundled": "bundled", "added": "added", "run": "a run"}
    return pd.DataFrame(
        {
            "name": [one.name for one in models],
            "origin": [origins[one.origin] if one.size_bytes is not None else _missing(one) for one in models],
            "size": [one.size_bytes for one in models],
            "runs": [one.runs for one in models],
            "last": [one.last_run for one in models],
            "carries": [one.carries for one in models],
            "file": ["" if one.path is None else str(one.path) for one in models],
        }
    )


def _missing(model: SeenModel) -> str:
    return "a run; no file known" if model.path is None else "missing file"


def _or_nothing(value: object) -> str:
    return value if isinstance(value, str) else NOT_AVAILABLE
