"""Editor of the search for the max rate within the SLO, with a preview of the probed rates."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QCheckBox, QComboBox, QGridLayout, QLineEdit, QSpinBox, QWidget

from app.analysis.objectives import format_objective
from app.gui.background import LatestRunner
from app.gui.charts.axes import Axis
from app.gui.charts.chart import Chart
from app.gui.formatting import format_number, shorten
from app.gui.message_strip import MessageStrip
from app.gui.navigation import Notice
from app.gui.run.editor_interface import EditedProfile, SpecialEditor, find_protocol, set_min_lines
from app.gui.run.search_view import DEFAULTS, SearchView, can_fail_rate, format_search, preview_search, read_slo
from app.gui.run.stage_model import ARRIVAL_PROCESSES
from app.gui.theme import ThemeController
from app.gui.widgets import label, vbox
from app.profiles.templates import list_default_objectives
from app.records.protocols import find_target_protocol

_CHART_LINES = 16


class SearchEditor(SpecialEditor):
    def __init__(self, theme_controller: ThemeController) -> None:
        super().__init__()
        self._document: EditedProfile | None = None
        self._displayed_inputs: tuple[object, ...] | None = None
        self._latest_view = LatestRunner(self, self._show, self._show_error)
        self.view = SearchView()
        self.strip = MessageStrip()
        self.strip.action_triggered.connect(self._add_objective)
        self.search_box = QCheckBox("Fi&nd the highest rate within the SLO")
        self.search_box.setAccessibleName("Find the highest rate within the SLO")
        self.search_box.clicked.connect(self._toggle_search)
        self.start, self.step_duration, self.max_duration = QLineEdit(), QLineEdit(), QLineEdit()
        self.max_duration.setPlaceholderText("No limit")
        self.repeats, self.arrivals = QSpinBox(), QComboBox()
        self.repeats.setRange(1, 1000)
        self.repeats.setKeyboardTracking(False)
        self.arrivals.addItems(list(ARRIVAL_PROCESSES))
        self.start.editingFinished.connect(self._edit_start)
        self.step_duration.editingFinished.connect(self._edit_step_duration)
        self.max_duration.editingFinished.connect(self._edit_max_duration)
        self.repeats.valueChanged.connect(self._edit_repeats)
        self.arrivals.activated.connect(self._edit_arrivals)
        self.fields = self._create_fields()
        self.summary_label = label("", "muted", wrap=True)
        self.chart = Chart(
            "Search preview", Axis("Probe", is_count=True), Axis("Rate", "req/s", is_log=True), theme_controller
        )
        vbox(self.strip, self.search_box, self.fields, self.summary_label, (self.chart, 1), 0, within=self)
        self.update_heights()

    def update_heights(self) -> None:
        set_min_lines(self.chart, _CHART_LINES)

    def supports_protocol(self, protocol: str | None) -> bool:
        target_protocol = find_target_protocol(protocol)
        return target_protocol is None or target_protocol.load not in ("users", "scenarios")

    def show_contents(self, document: EditedProfile) -> None:
        self._document = document
        search = self._get_search()
        self.search_box.setChecked(search is not None)
        is_only_load = document.value("load.stages") is None and bool(document.value("load"))
        self.search_box.setHidden(is_only_load)  # the kind of load is chosen above
        for widget in (self.fields, self.summary_label, self.chart):
            widget.setVisible(search is not None)
        if search is None:
            self._displayed_inputs = None
            self._latest_view.cancel()
            self.strip.hide()
            return
        self._fill_fields({**DEFAULTS, **{key: value for key, value in search.items() if value is not None}})
        if "max_duration" in search and search["max_duration"] is None and not self.max_duration.isModified():
            self.max_duration.clear()
        slo = read_slo(document.value("slo"))
        inputs = copy.deepcopy((search, slo))
        if inputs != self._displayed_inputs:
            self._displayed_inputs = inputs
            self._latest_view.request(lambda: preview_search(search, slo))

    def _get_search(self) -> dict[str, Any] | None:
        search = None if self._document is None else self._document.value("load.search")
        return dict(search) if isinstance(search, dict) else None

    def _fill_fields(self, search: dict[str, Any]) -> None:
        for field, key in (
            (self.start, "start"),
            (self.step_duration, "step_duration"),
            (self.max_duration, "max_duration"),
        ):
            if not field.hasFocus() or not field.isModified():
                field.setText(str(search.get(key, "")))
        repeats = search["repeats"]
        for widget in (self.repeats, self.arrivals):
            widget.blockSignals(True)
        self.repeats.setValue(repeats if isinstance(repeats, int) else 3)
        self.arrivals.setCurrentText(str(search["arrivals"]))
        for widget in (self.repeats, self.arrivals):
            widget.blockSignals(False)

    def _show(self, view: SearchView) -> None:
        self.view = view
        slo = read_slo(None if self._document is None else self._document.value("slo"))
        if not can_fail_rate(slo):
            message = "A search needs an SLO. Add at least one objective."
            self.strip.show_notice(
                Notice("warning", message), f"Add “{format_objective(self._get_default_objective())}”"
            )
        elif view.problem is not None:
            self.strip.show_notice(Notice("error", f"The search has errors: {view.problem}"))
        else:
            self.strip.hide()
        self.summary_label.setText("" if view.planned_search is None else format_search(view.planned_search))
        self._draw(view)

    def _draw(self, view: SearchView) -> None:
        self.chart.clear()
        self.chart.set_message("" if view.rates_per_s else "There is no search preview yet.")
        if not view.rates_per_s:
            return
        rates = np.array(view.rates_per_s)
        indices = np.arange(1, len(rates) + 1, dtype=float)
        exceeds_capacity = rates > view.assumed_capacity_per_s
        names = ["SLO missed" if exceeds else "within SLO" for exceeds in exceeds_capacity]
        self.chart.set_points(
            "probes", "probes (hollow = SLO missed)", indices, rates, hollow_flags=exceeds_capacity, names=names
        )
        limit_label = f"assumed maximum: {format_number(view.assumed_capacity_per_s)} req/s"
        self.chart.set_limit(view.assumed_capacity_per_s, limit_label)

    def _show_error(self, error: Exception) -> None:
        self.strip.show_notice(Notice("error", f"The search preview failed: {shorten(str(error), 300)}"))

    # Edits

    def _toggle_search(self, is_checked: bool) -> None:
        self.edited.emit("load.search", dict(DEFAULTS) if is_checked else None)

    def _add_objective(self) -> None:
        slo = read_slo(None if self._document is None else self._document.value("slo"))
        self.edited.emit("slo", [*slo, self._get_default_objective()])

    def _get_default_objective(self) -> str:
        protocol = None if self._document is None else find_protocol(self._document)
        return list_default_objectives(protocol or "http")[0]

    def _edit_start(self) -> None:
        self._edit_text("start", self.start)

    def _edit_step_duration(self) -> None:
        self._edit_text("step_duration", self.step_duration)

    def _edit_max_duration(self) -> None:
        self._edit_text("max_duration", self.max_duration)

    def _edit_text(self, key: str, field: QLineEdit) -> None:
        """Apply the text that the user entered in a field. An empty text restores the default."""
        text = field.text().strip()
        field.setModified(False)
        search = self._get_search()
        if search is None:  # a field that is hidden with the search loses the focus
            return
        if text and text != str(search.get(key, DEFAULTS.get(key))):
            self.edited.emit(f"load.search.{key}", text)
        elif not text and key in search:
            self.edited.emit(f"load.search.{key}", None)
        elif not text:
            field.setText(str(DEFAULTS[key]))

    def _edit_repeats(self, repeats: int) -> None:
        self.edited.emit("load.search.repeats", repeats)

    def _edit_arrivals(self) -> None:
        arrivals = self.arrivals.currentText()
        search = {key: value for key, value in (self._get_search() or {}).items() if key != "cv"}
        gamma_settings = {"cv": 2.0} if arrivals == "gamma" else {}
        self.edited.emit("load.search", {**search, "arrivals": arrivals, **gamma_settings})

    def _create_fields(self) -> QWidget:
        container = QWidget()
        grid = QGridLayout(container)
        grid.setContentsMargins(0, 0, 0, 0)
        fields: tuple[tuple[str, QWidget, str], ...] = (
            ("Start rate", self.start, "First rate that is tested; the search then doubles or halves the rate"),
            ("Step duration", self.step_duration, "Minimum duration for which each rate is tested"),
            ("Repeats", self.repeats, "Number of times the result must be confirmed"),
            ("Arr&ivals", self.arrivals, "Arrival process of requests"),
            ("Time limit", self.max_duration, "Time after which the search ends with the highest confirmed rate"),
        )
        for index, (text, field, help_text) in enumerate(fields):
            caption = label(text, buddy=field)
            field.setAccessibleName(text.replace("&", ""))
            field.setToolTip(help_text)
            grid.addWidget(caption, index // 2, 2 * (index % 2), Qt.AlignmentFlag.AlignLeft)
            grid.addWidget(field, index // 2, 2 * (index % 2) + 1)
        grid.setColumnStretch(1, 1)
        grid.setColumnStretch(3, 1)
        return container
