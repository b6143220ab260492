"""Models tab: known models, and a card with the contents of the selected model and the GPUs with
enough memory. Model files are inspected but not executed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd
from PySide6.QtWidgets import QFrame, QWidget

from app.gui.background import LatestRunner
from app.gui.formatting import NOT_AVAILABLE, format_count, format_number, format_size, shorten
from app.gui.library.list_pane import ListPane
from app.gui.library.remembered_files import RememberedFileActions, list_remembered_files
from app.gui.library.run_listing import format_bytes, format_time
from app.gui.library.usage import ModelUsage, find_models
from app.gui.navigation import Navigation, build_error_notice
from app.gui.theme import CARD_MARGINS
from app.gui.widgets import EmptyState, button, label, vbox
from app.records.model import ModelInspection, ModelValue, ShapeOverrides
from app.reporting.run_rows import RunRow

_MAX_VALUES, _MAX_GPUS, _MAX_CHARACTERS = 4, 5, 60


class ModelCard(QFrame):
    def __init__(self) -> None:
        super().__init__()
        self.setProperty("role", "card")
        self.setAccessibleName("Selected model")
        self._path: Path | None = None
        self._title, self._text = label("", "heading"), label("", wrap=True)
        vbox(self._title, self._text, within=self, margins=CARD_MARGINS)
        self._latest_inspection: LatestRunner[ModelInspection] = LatestRunner(self, self._show, self._show_error)
        self.hide()

    @property
    def text(self) -> str:
        return self._text.text()

    def inspect(self, path: Path | None) -> None:
        self.setVisible(path is not None)
        if path is None or path == self._path:
            return
        self._path = path
        self._title.setText(shorten(path.name, _MAX_CHARACTERS))
        self._text.setText("Inspecting model…")
        self._latest_inspection.request(lambda: _inspect(path))

    def _show(self, inspection: ModelInspection) -> None:
        self._text.setText("\n".join(format_inspection(inspection)))

    def _show_error(self, error: Exception) -> None:
        self._path = None  # so that the next selection of this model tries again
        notice = build_error_notice(error)
        self._text.setText(" ".join(part for part in (notice.summary, notice.next_step) if part))


def format_inspection(inspection: ModelInspection) -> Iterator[str]:
    model = inspection.model
    yield f"Inputs: {_format_values(model.inputs)}; outputs: {_format_values(model.outputs)}"
    opsets = ", ".join(f"{domain} {version}" for domain, version in model.opsets.items())
    parameter_count, node_count = format_count(model.parameters.count), format_count(model.nodes)
    yield f"{parameter_count} parameters, {format_size(model.size_bytes)}, opset {opsets}, {node_count} nodes"
    if model.costs:
        cost = model.costs[0]
        gflop_text, memory_text = format_number(cost.flops / 1e9), format_size(cost.memory_bytes)
        yield f"Per inference at batch size {cost.batch}: {gflop_text} GFLOP, {memory_text} memory"
    elif model.cost_reason:
        yield f"The cost per inference is not available: {shorten(model.cost_reason, 200)}"
    fitting_gpus = [gpu.name for gpu in inspection.gpus if gpu.largest_batch is not None]
    if inspection.gpus:
        names = ", ".join(fitting_gpus[:_MAX_GPUS]) + ("…" if len(fitting_gpus) > _MAX_GPUS else "")
        yield (
            f"The model fits in the memory of {len(fitting_gpus)} of {len(inspection.gpus)} known GPUs ({names})."
            if fitting_gpus
            else f"The model does not fit in the memory of any of the {len(inspection.gpus)} known GPUs."
        )


def _format_values(values: tuple[ModelValue, ...]) -> str:
    value_texts = [
        f"{shorten(value.name, _MAX_CHARACTERS)} {value.dtype}{_format_shape(value)}" for value in values[:_MAX_VALUES]
    ]
    hidden_count = len(values) - len(value_texts)
    return ", ".join([*value_texts, *([f"{hidden_count} more"] if hidden_count else [])]) or "none"


def _format_shape(value: ModelValue) -> str:
    return (
        ""
        if value.shape is None
        else f" [{' × '.join(shorten(str(dimension), _MAX_CHARACTERS) for dimension in value.shape)}]"
    )


def _inspect(path: Path) -> ModelInspection:
    from app.wiring.inspecting import inspect_with_gpus

    return inspect_with_gpus(path, ShapeOverrides({}, {}))


class ModelsTab(QWidget):
    def __init__(self, navigation: Navigation) -> None:
        super().__init__()
        self._navigation = navigation
        self._rows: Sequence[RunRow] = ()
        self._models: tuple[ModelUsage, ...] = ()
        self.file_actions = RememberedFileActions("models", "Models (*.onnx)", self)
        self._benchmark_button = button("&Benchmark this model", self.benchmark, primary=True)
        self.pane = ListPane(
            "Models",
            "These ONNX models are bundled with Sizewise, measured by your runs, or added by you.",
            (_HEADERS, {"size": format_bytes, "last": format_time, "max_rate": _format_text}),
            [self._benchmark_button],
            [
                self.file_actions.relocate_button,
                self.file_actions.forget_button,
                button("&Add model…", self.file_actions.choose_file_to_add),
            ],
            EmptyState(
                "There are no models yet.", button("&Add model…", self.file_actions.choose_file_to_add, primary=True)
            ),
        )
        self.card = ModelCard()
        self.pane.footer.addWidget(self.card)
        vbox(self.pane, within=self)
        self._latest_models: LatestRunner[tuple[ModelUsage, ...]] = LatestRunner(
            self, self._show, navigation.notify_error
        )
        self.file_actions.changed.connect(self._find_models)
        self.pane.opened.connect(self.benchmark)
        self.pane.selection_changed.connect(self._on_selection_changed)

    def show_runs(self, rows: Sequence[RunRow]) -> None:
        self._rows = rows
        self._find_models()

    def selected_model(self) -> ModelUsage | None:
        index = self.pane.selected_index()
        return None if index is None else self._models[index]

    def benchmark(self) -> None:
        model = self.selected_model()
        if model is not None and model.path is not None and model.size_bytes is not None:
            self._navigation.open_model_requested.emit(model.path)

    def command_arguments(self) -> tuple[str, ...]:
        model = self.selected_model() or next(iter(self._models), None)
        return ("models", "inspect", str(model.path if model and model.path else "digits"))

    def _find_models(self) -> None:
        rows, added_paths = tuple(self._rows), list_remembered_files("models")
        self._latest_models.request(lambda: find_models(rows, added_paths))

    def _show(self, models: tuple[ModelUsage, ...]) -> None:
        if models != self._models or not models:
            self._models = models
            self.pane.set_frame(_build_frame(models))

    def _on_selection_changed(self) -> None:
        model = self.selected_model()
        has_file = model is not None and model.size_bytes is not None
        self._benchmark_button.setEnabled(has_file)
        added_path = model.path if model is not None and model.origin == "added" else None
        self.file_actions.show_file(added_path, is_missing=not has_file)
        self.card.inspect(_get_existing_path(model))


def _get_existing_path(model: ModelUsage | None) -> Path | None:
    return model.path if model is not None and model.size_bytes is not None else None


_HEADERS = {
    "name": "Model",
    "origin": "Source",
    "size": "Size",
    "runs": "Runs",
    "last": "Last measured",
    "max_rate": "Last max rate",
    "file": "File",
}


def _build_frame(models: Sequence[ModelUsage]) -> pd.DataFrame:
    origin_labels = {"bundled": "bundled", "added": "added", "run": "run"}
    return pd.DataFrame(
        {
            "name": [model.name for model in models],
            "origin": [
                origin_labels[model.origin] if model.size_bytes is not None else _format_missing_file(model)
                for model in models
            ],
            "size": [model.size_bytes for model in models],
            "runs": [model.run_count for model in models],
            "last": [model.last_run_at for model in models],
            "max_rate": [model.last_max_rate for model in models],
            "file": ["" if model.path is None else str(model.path) for model in models],
        }
    )


def _format_missing_file(model: ModelUsage) -> str:
    return "run (file unknown)" if model.path is None else "missing file"


def _format_text(value: object) -> str:
    return value if isinstance(value, str) else NOT_AVAILABLE
