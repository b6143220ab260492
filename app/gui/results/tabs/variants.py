"""A model that ran on this machine by itself: each variant and scenario, and what each is limited by."""

from __future__ import annotations

import numpy as np

from app.gui.charts.axes import Axis
from app.gui.charts.chart import Chart
from app.gui.results import frames
from app.gui.results.quantity_model import QuantityModel
from app.gui.results.state import Shown
from app.gui.results.tabs.tab import Tab, fit_height, table_of, wide_enough
from app.gui.theme import Look
from app.gui.widgets import label
from reports.local_model import LocalSection

_MOST = 20


class VariantsTab(Tab):
    title = "Variants"

    def __init__(self, look: Look) -> None:
        super().__init__()
        self.about = label("", wrap=True)
        headers = {"variant": "Variant", "state": "State", "slo": "SLO", "scenario": "Scenario",
                   "throughput": "Inferences/s", "cost": "Cost", "calls": "Calls",
                   "measurement": "Measurement"}  # fmt: skip
        self.model = QuantityModel(headers, frames.VARIANT_QUANTITIES)
        self.table = table_of(self.model, "Variants and scenarios")
        self._look = look
        self.front: Chart | None = None
        self.bounds = label("", wrap=True)
        self.column.addWidget(self.about)
        self.column.addWidget(self.table)
        self.add_heading("What limits each")
        self.column.addWidget(self.bounds)
        self.column.addStretch(1)

    def is_for(self, shown: Shown) -> bool:
        return shown.own.local is not None

    def show_run(self, shown: Shown) -> None:
        local = shown.report.local
        if local is None:
            return
        best = f"Best: {local.best}." if local.best else local.best_reason or ""
        self.about.setText(". ".join(part for part in (local.common, best) if part))
        frame, struck, hints = frames.variant_frame(local)
        self.model.set_rows(frame, struck, hints)
        wide_enough(self.table)
        fit_height(self.table)
        told = [f"{one.name}: {one.bound.sentence}" for one in local.variants[:_MOST] if one.bound is not None]
        self.bounds.setText("\n".join(told) or "Nothing is known of it.")
        self._draw(local)

    def _draw(self, local: LocalSection) -> None:
        """A chart has its axes for good, and these are each run's own."""
        if self.front is not None:
            self.front.hide()
            self.front.deleteLater()
            self.front = None
        placed = [one for one in local.variants if one.latency.value is not None and one.cost.value is not None]
        if len(placed) < 2:
            return
        unit = placed[0].cost.unit
        axes = Axis(local.axes.latency, "ms", True), Axis(local.axes.cost, unit if unit not in local.axes.cost else "")
        front = Chart("Latency and cost", *axes, self._look)
        front.setMinimumHeight(260)
        for series, (state, of_it) in enumerate(
            (
                ("on the front", [one for one in placed if one.on_front]),
                ("beaten by another", [one for one in placed if not one.on_front]),
            )
        ):
            if of_it:
                front.set_points(
                    state,
                    state,
                    np.array([one.latency.value for one in of_it], dtype=np.float64),
                    np.array([one.cost.value for one in of_it], dtype=np.float64),
                    series=series,
                    hollow=np.array([one.state == "INVALID" for one in of_it]),
                    names=tuple(one.name for one in of_it),
                )
        self.front = front
        self.column.insertWidget(self.column.indexOf(self.table) + 1, front, 1)


class ModelTab(Tab):
    """Of a model that was served too, measured alone beside it."""

    title = "Model alone"

    def __init__(self) -> None:
        super().__init__()
        self.about = label("", wrap=True)
        headers = {"provider": "Provider", "precision": "Precision", "batch": "Batch",
                   "throughput": "Inferences/s"}  # fmt: skip
        self.model = QuantityModel(headers, frames.BATCH_QUANTITIES)
        self.table = table_of(self.model, "The model alone, by batch")
        self.proof = label("", "muted", wrap=True)
        for widget in (self.about, self.table, self.proof):
            self.column.addWidget(widget)
        self.column.addStretch(1)

    def is_for(self, shown: Shown) -> bool:
        return shown.own.model is not None

    def show_run(self, shown: Shown) -> None:
        from app.gui.formatting import quantity
        from app.gui.results.verdict_card import check_sentence

        model = shown.own.model
        if model is None:
            return
        starts = [f"{one.name} {quantity(one.quantity)}" for one in model.cold_start]
        accuracy = [] if model.accuracy is None else [f"accuracy {quantity(model.accuracy)}"]
        words = f"{model.name} on this machine, with nothing in between"
        self.about.setText("; ".join([words, *accuracy, *starts]))
        self.model.set_rows(frames.batch_frame(model.batches))
        wide_enough(self.table)
        fit_height(self.table)
        self.proof.setText("\n".join(f"{row.verdict} {check_sentence(row)}" for row in model.proof))
