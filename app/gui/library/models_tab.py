"""The models there are: what a file holds is inspected when it is chosen."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from PySide6.QtWidgets import QVBoxLayout, QWidget

from app.gui.background import Latest
from app.gui.empty import Empty
from app.gui.formatting import NOT_AVAILABLE
from app.gui.library.files_kept import FilesKept
from app.gui.library.list_pane import ListPane
from app.gui.library.listed import bytes_text, moment
from app.gui.library.model_card import ModelCard
from app.gui.library.remembered import remembered
from app.gui.library.seen import SeenModel, models_seen
from app.gui.navigation import Navigation
from app.gui.widgets import button
from app.reporting.run_rows import RunRow


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
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.pane)
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
