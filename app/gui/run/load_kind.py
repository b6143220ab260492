"""Choice of the kind of load, and the loads of a sweep."""

from __future__ import annotations

import copy
from typing import Any, Literal, get_args

import msgspec
from PySide6.QtWidgets import QGridLayout

from app.gui.forms.scalars import TextLine
from app.gui.run.editor_interface import EditedProfile, SpecialEditor
from app.gui.run.search_view import DEFAULTS as SEARCH_DEFAULTS
from app.gui.widgets import WheelSafeComboBox, label
from app.records.protocols import find_target_protocol

LoadKind = Literal["clients", "rates", "stages", "search"]
_TITLES: dict[LoadKind, str] = {
    "clients": "Steps of concurrency, such as 1, 2, 4 … clients",
    "rates": "Steps of request rate, such as 10, 50, 200 req/s",
    "stages": "Stages that you draw: constant, ramp, spike, trace",
    "search": "Search for the max rate within the SLO",
}
_CLIENT_COUNTS = (1, 2, 4, 8, 16, 32)
_RATES = ("10/s", "20/s", "50/s", "100/s")
_STEP_DURATION = "20s"
_NEW_LOADS: dict[LoadKind, dict[str, Any]] = {
    "clients": {"sweep": {"concurrency": list(_CLIENT_COUNTS), "step_duration": _STEP_DURATION}},
    "rates": {"sweep": {"rates": list(_RATES), "step_duration": _STEP_DURATION}},
    "stages": {"stages": [{"name": "steady", "arrivals": "poisson", "rate": "50/s", "duration": "30s"}]},
    "search": {"search": dict(SEARCH_DEFAULTS)},
}
_LOAD_KEYS = ("stages", "sweep", "search")
_COMBINED_TITLE = "Several of them, one after the other"


class SweepView(msgspec.Struct, frozen=True):
    """Loads of a sweep as texts in profile notation. `is_editable` is false if they are computed
    from a range, which the advanced settings define."""

    loads: tuple[str, ...]
    step_duration: str
    is_editable: bool


def find_load_kind(load: dict[str, Any]) -> LoadKind | None:
    """Return the kind of a load; `None` if the profile combines several or has none."""
    keys = [key for key in _LOAD_KEYS if load.get(key) not in (None, [])]
    if keys != ["sweep"]:
        return ("stages" if keys == ["stages"] else "search") if keys in (["stages"], ["search"]) else None
    sweep = load["sweep"]
    is_clients = isinstance(sweep, dict) and {"concurrency", "max_concurrency"} & sweep.keys()
    return "clients" if is_clients else "rates"


def switch_load_kind(load: dict[str, Any], kind: LoadKind) -> dict[str, Any]:
    """Return the load with example values of another kind in place of the previous loads."""
    return {**{key: value for key, value in load.items() if key not in _LOAD_KEYS}, **copy.deepcopy(_NEW_LOADS[kind])}


def view_sweep(sweep: dict[str, Any]) -> SweepView:
    step_duration = str(sweep.get("step_duration", "10s"))
    if sweep.get("max_concurrency") is not None:
        return SweepView((f"1, 2, 4 … {sweep['max_concurrency']}",), step_duration, is_editable=False)
    loads = sweep.get("concurrency", sweep.get("rates"))
    if loads is None:
        return SweepView((f"{sweep.get('from')} to {sweep.get('to')}",), step_duration, is_editable=False)
    return SweepView(tuple(map(str, loads if isinstance(loads, list) else [loads])), step_duration, is_editable=True)


def parse_loads(text: str, kind: LoadKind) -> list[Any]:
    """Return the loads in a text such as `1, 2, 4` or `10/s, 50/s`. A number without a unit is a
    rate per second; what is no number is returned as it is, so that the validation reports it."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if kind == "clients":
        return [int(part) if part.isascii() and part.isdecimal() else part for part in parts]
    return [f"{part}/s" if part.replace(".", "", 1).isdecimal() else part for part in parts]


class LoadKindEditor(SpecialEditor):
    def __init__(self) -> None:
        super().__init__()
        self._document: EditedProfile | None = None
        self.kind_box = WheelSafeComboBox()
        self.kind_box.setAccessibleName("Kind of load")
        for kind in get_args(LoadKind):
            self.kind_box.addItem(_TITLES[kind], kind)
        self.kind_box.setPlaceholderText(_COMBINED_TITLE)
        self.kind_box.activated.connect(self._select_kind)
        self.loads_line, self.duration_line = TextLine(), TextLine()
        self.loads_line.editingFinished.connect(self._edit_loads)
        self.duration_line.editingFinished.connect(self._edit_duration)
        self.loads_label = label("", buddy=self.loads_line)
        self.duration_line.setAccessibleName("Duration of each step")
        self.duration_line.setToolTip("Time for which each load is applied, such as 20s")
        duration_label = label("Duration of each step", buddy=self.duration_line)
        self._sweep_widgets = (self.loads_label, self.loads_line, duration_label, self.duration_line)
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.addWidget(label("Kind of load", buddy=self.kind_box), 0, 0)
        grid.addWidget(self.kind_box, 0, 1, 1, 3)
        for column, widget in enumerate(self._sweep_widgets):
            grid.addWidget(widget, 1, column)
        grid.setColumnStretch(1, 3)
        grid.setColumnStretch(3, 1)

    def supports_protocol(self, protocol: str | None) -> bool:
        target_protocol = find_target_protocol(protocol)
        return target_protocol is None or target_protocol.load == "rates"

    def show_contents(self, document: EditedProfile) -> None:
        self._document = document
        load = self._get_load()
        kind = find_load_kind(load)
        self.kind_box.setCurrentIndex(-1 if kind is None else self.kind_box.findData(kind))
        sweep = load.get("sweep")
        for widget in self._sweep_widgets:
            widget.setVisible(isinstance(sweep, dict))
        if not isinstance(sweep, dict):
            return
        view, is_clients = view_sweep(sweep), kind == "clients"
        self.loads_label.setText("Clients" if is_clients else "Rates")
        self.loads_line.setAccessibleName("Clients of each step" if is_clients else "Rate of each step")
        self.loads_line.setToolTip(
            "Number of clients of each step, from low to high; each client sends its next request after the response"
            if is_clients
            else "Requests per second of each step, from low to high"
        )
        self.loads_line.setReadOnly(not view.is_editable)
        for line, text in ((self.loads_line, ", ".join(view.loads)), (self.duration_line, view.step_duration)):
            if not line.hasFocus() or not line.isModified():
                line.setText(text)

    def _get_load(self) -> dict[str, Any]:
        load = None if self._document is None else self._document.value("load")
        return load if isinstance(load, dict) else {}

    def _select_kind(self) -> None:
        kind = next(kind for kind in get_args(LoadKind) if kind == self.kind_box.currentData())
        if kind != find_load_kind(self._get_load()):
            self.edited.emit("load", switch_load_kind(self._get_load(), kind))

    def _edit_loads(self) -> None:
        sweep = self._get_load().get("sweep")
        if not isinstance(sweep, dict) or not self.loads_line.isModified() or self.loads_line.isReadOnly():
            return
        self.loads_line.setModified(False)
        key = "concurrency" if "concurrency" in sweep else "rates"
        loads = parse_loads(self.loads_line.text(), "clients" if key == "concurrency" else "rates")
        self.edited.emit(f"load.sweep.{key}", loads)

    def _edit_duration(self) -> None:
        if self.duration_line.isModified():
            self.duration_line.setModified(False)
            self.edited.emit("load.sweep.step_duration", self.duration_line.text().strip() or None)
