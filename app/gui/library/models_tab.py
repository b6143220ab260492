"""Models tab: lists the known models. The file of the selected model is inspected, never executed, and the card shows
its contents and the GPUs that it fits."""

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

_MAX_VALUES, _MAX_CARDS, _MAX_CHARACTERS = 4, 5, 60


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
        self._title.setText(path.name[:_MAX_CHARACTERS])
        self._text.setText("Reading the model…")
        self._latest.ask(lambda: _inspect(path))

    def _show(self, inspection: ModelInspection) -> None:
        self._text.setText("\n".join(inspection_lines(inspection)))

    def _fail(self, error: Exception) -> None:
        self._path = None  # the next selection tries again
        notice = notice_of(error)
        self._text.setText(" ".join(part for part in (notice.what, notice.next_step) if part))


def inspection_lines(inspection: ModelInspection) -> Iterator[str]:
    model = inspection.model
    yield f"In: {_values(model.inputs)}. Out: {_values(model.outputs)}."
    opsets = ", ".join(f"{domain} {version}" for domain, version in model.opsets.items())
    parameters, nodes = count(model.parameters.count), count(model.nodes)
    yield f"{parameters} parameters, {size(model.size_bytes)}, opset {opsets}, {nodes} operators"
    if model.costs:
        cost = model.costs[0]
        gflop, memory = number(cost.flops / 1e9), size(cost.memory_bytes)
        yield f"One inference of batch {cost.batch}: {gflop} GFLOP, {memory} of memory"
    elif model.cost_reason:
        yield f"Cost of an inference n/a: {model.cost_reason[:200]}"
    fitting = [gpu.name for gpu in inspection.cards if gpu.largest_batch is not None]
    if inspection.cards:
        names = ", ".join(fitting[:_MAX_CARDS])
        yield (
            f"Fits {len(fitting)} of {len(inspection.cards)} known cards: {names}…"
            if fitting
            else f"Fits none of {len(inspection.cards)} known cards."
        )


def _values(values: tuple[ModelValue, ...]) -> str:
    texts = [f"{value.name[:_MAX_CHARACTERS]} {value.dtype}{_shape(value)}" for value in values[:_MAX_VALUES]]
    further = len(values) - len(texts)
    return ", ".join([*texts, *([f"{further} more"] if further else [])]) or "nothing"


def _shape(value: ModelValue) -> str:
    return (
        "" if value.shape is None else f" [{' × '.join(str(dimension)[:_MAX_CHARACTERS] for dimension in value.shape)}]"
    )


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
            (_HEADERS, {"size": bytes_text, "last": moment, "carries": _text_or_na}),
            [self._benchmark],
            [self.kept.relocate_button, self.kept.forget_button, button("&Add a model…", self.kept.ask_add)],
            Empty("No model is known yet.", button("&Add a model…", self.kept.ask_add, primary=True)),
        )
        self.card = ModelCard()
        self.pane.below.addWidget(self.card)
        vbox(self.pane, within=self)
        self._latest_models: Latest[tuple[SeenModel, ...]] = Latest(self, self._show, navigation.tell_error)
        self.kept.changed.connect(self._find_models)
        self.pane.opened.connect(self.benchmark)
        self.pane.chosen_changed.connect(self._on_selection_changed)

    def show_runs(self, rows: Sequence[RunRow]) -> None:
        self._rows = rows
        self._find_models()

    def chosen(self) -> SeenModel | None:
        row = self.pane.chosen()
        return None if row is None else self._models[row]

    def benchmark(self) -> None:
        model = self.chosen()
        if model is not None and model.path is not None and model.size_bytes is not None:
            self._navigation.model_opened.emit(model.path)

    def words_of_command(self) -> tuple[str, ...]:
        model = self.chosen() or next(iter(self._models), None)
        return ("models", "inspect", str(model.path if model and model.path else "digits"))

    def _find_models(self) -> None:
        rows, added = tuple(self._rows), remembered("models")
        self._latest_models.ask(lambda: models_seen(rows, added))

    def _show(self, models: tuple[SeenModel, ...]) -> None:
        if models != self._models or not models:
            self._models = models
            self.pane.set_frame(_frame(models))

    def _on_selection_changed(self) -> None:
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
            "name": [model.name for model in models],
            "origin": [
                origins[model.origin] if model.size_bytes is not None else _missing_text(model) for model in models
            ],
            "size": [model.size_bytes for model in models],
            "runs": [model.runs for model in models],
            "last": [model.last_run for model in models],
            "carries": [model.carries for model in models],
            "file": ["" if model.path is None else str(model.path) for model in models],
        }
    )


def _missing_text(model: SeenModel) -> str:
    return "a run; no file known" if model.path is None else "missing file"


def _text_or_na(value: object) -> str:
    return value if isinstance(value, str) else NOT_AVAILABLE
