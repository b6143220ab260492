"""Verdict tab: environment differences, then the changes with their confidence intervals.

If a headline metric is inconclusive, a card suggests how many more A/B pairs are needed, and can
start their measurement.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from PySide6.QtCore import QSignalBlocker, Signal
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QCheckBox, QComboBox, QFrame, QHBoxLayout, QScrollArea, QSpinBox, QWidget

from app.gui.charts.axes import Axis
from app.gui.charts.chart import Chart
from app.gui.charts.pens import BAD_STYLE_INDEX
from app.gui.compare.entries import ComparisonRequest
from app.gui.compare.frames import (
    CHANGE_HEADERS,
    DIFFERENCE_HEADERS,
    ShortTable,
    StateColoredModel,
    build_text_frame,
    comparability_state,
    metric_text,
    notes_text,
    select_rows,
    select_unpaired,
    stage_names,
    summarize_outcome,
    unpaired_frame,
    verdict_state,
)
from app.gui.compare.outcome import Outcome
from app.gui.compare.pairs_suggestion import (
    MAX_MINUTES,
    MAX_PAIRS,
    MIN_MINUTES,
    PairsSuggestion,
    build_measure_command,
    compute_time_limit_min,
    duration_text,
)
from app.gui.flow import set_flow_layout
from app.gui.formatting import sentence, shorten
from app.gui.tables import FrameTable, set_table_description
from app.gui.theme import TAB_MARGINS, ThemeController
from app.gui.widgets import Badge, button, card, fill_choices, hbox, label, restyle, vbox
from reports.sections.comparison import CHANGES, DIFFERENCES, ChangeRow, ChangeVerdict


class PairsCard(QWidget):
    measurement_requested = Signal(object, int, int)
    """Signal that is emitted with the `PairsSuggestion`, the number of pairs, and the time limit in
    minutes when the user starts the measurement of A/B pairs."""

    def __init__(self) -> None:
        super().__init__()
        self._request: ComparisonRequest | None = None
        self._suggestion: PairsSuggestion | None = None
        self._is_measuring = False
        self._summary_label = label("", wrap=True)
        self._problem_label, self._duration_label = label("", "word", wrap=True), label("", "muted", wrap=True)
        self._command_heading, self._command_label = (
            label("Equivalent command:", "muted", wrap=True),
            label("", wrap=True),
        )
        self.pair_count_box, self.time_limit_box = QSpinBox(), QSpinBox()
        self.run_button = button("", self._request_measurement, primary=True)
        self.copy_button = button("Cop&y command", self._copy_command)
        self._inputs = self._create_input_row()
        button_row = QWidget()
        set_flow_layout(button_row).addWidget(self.copy_button)
        frame = card(
            self._summary_label,
            self._problem_label,
            self._inputs,
            self._duration_label,
            self._command_heading,
            self._command_label,
            button_row,
        )
        vbox(frame, within=self)
        self.pair_count_box.valueChanged.connect(self._fit_time_limit)
        self.time_limit_box.valueChanged.connect(self._update)

    @property
    def command(self) -> str:
        return self._command_label.text()

    @property
    def problem(self) -> str:
        return self._problem_label.text()

    @property
    def duration(self) -> str:
        return self._duration_label.text()

    def show_suggestion(self, request: ComparisonRequest, suggestion: PairsSuggestion) -> None:
        self._request, self._suggestion = request, suggestion
        self._summary_label.setText(
            f"The result is inconclusive. About {suggestion.pair_count} more A/B pairs are needed for a verdict."
        )
        self._problem_label.setText(suggestion.problem or "")
        self._problem_label.setVisible(suggestion.problem is not None)
        with QSignalBlocker(self.pair_count_box):
            self.pair_count_box.setValue(suggestion.pair_count)
        self._fit_time_limit()

    def set_measuring(self, is_measuring: bool) -> None:
        """Disable the inputs of the card while A/B pairs are being measured, and enable them
        afterwards."""
        self._is_measuring = is_measuring
        self._update()

    def _create_input_row(self) -> QWidget:
        self.pair_count_box.setRange(1, MAX_PAIRS)
        self.pair_count_box.setAccessibleName("Number of A/B pairs")
        self.time_limit_box.setRange(MIN_MINUTES, MAX_MINUTES)
        self.time_limit_box.setSuffix(" min")
        self.time_limit_box.setAccessibleName("Time limit in minutes")
        row = QWidget()
        flow = set_flow_layout(row)
        flow.addWidget(self.run_button)
        for text, box in (("&Pairs", self.pair_count_box), ("Ti&me limit", self.time_limit_box)):
            flow.addWidget(_create_labeled_box(text, box))
        return row

    def _fit_time_limit(self) -> None:
        if self._suggestion is not None:
            with QSignalBlocker(self.time_limit_box):
                self.time_limit_box.setValue(compute_time_limit_min(self._suggestion, self.pair_count_box.value()))
        self._update()

    def _update(self) -> None:
        if self._request is None or self._suggestion is None:
            return
        pair_count, time_limit_min = self.pair_count_box.value(), self.time_limit_box.value()
        text = "R&un 1 more pair" if pair_count == 1 else f"R&un {pair_count} more pairs"
        self.run_button.setText(text)
        self.run_button.setAccessibleName(text.replace("&", ""))
        self.run_button.setEnabled(self._suggestion.problem is None and not self._is_measuring)
        for box in (self.pair_count_box, self.time_limit_box):
            box.setEnabled(not self._is_measuring)
        self._duration_label.setText(duration_text(self._suggestion, pair_count, time_limit_min))
        self._duration_label.setVisible(self._suggestion.problem is None)
        self._command_label.setText(build_measure_command(self._request, self._suggestion, pair_count, time_limit_min))

    def _request_measurement(self) -> None:
        if self._suggestion is not None:
            self.measurement_requested.emit(self._suggestion, self.pair_count_box.value(), self.time_limit_box.value())

    def _copy_command(self) -> None:
        QGuiApplication.clipboard().setText(self._command_label.text())


def _create_labeled_box(text: str, box: QSpinBox) -> QWidget:
    container = QWidget()
    hbox(label(text, buddy=box), box, within=container)
    return container


_MAX_DIFFERENCE_ROWS = 6
_MAX_CHARTED_ROWS = 24
_VERDICT_STYLES: dict[ChangeVerdict, int] = {"better": 2, "worse": BAD_STYLE_INDEX, "same": 0, "inconclusive": 3}
_MAX_UNSCROLLED_ROWS = 8
_MAX_COLUMN_CHARACTERS = 40


class ForestChart(Chart):
    """Forest plot of changes: each change in percent with its 95 % CI, one row per metric and stage.
    Changes that are inconclusive are hollow."""

    def __init__(self, theme_controller: ThemeController) -> None:
        super().__init__(
            "Changes (95 % CI)", Axis("Change", "%", is_from_zero=True), Axis("Metric", is_from_zero=False),
            theme_controller,
        )  # fmt: skip

    def show_rows(self, rows: Sequence[ChangeRow]) -> None:
        """Show the first rows whose change is known. The chart is hidden if there are none."""
        self.clear()
        charted = [row for row in rows if row.ratio.value is not None][:_MAX_CHARTED_ROWS]
        self.setVisible(bool(charted))
        names = [shorten(f"{metric_text(row.metric)}, {row.stage}", _MAX_COLUMN_CHARACTERS) for row in charted]
        self.plot.y_axis.set_names(names)
        bounds = [(position, *row.ratio.ci95) for position, row in enumerate(charted) if row.ratio.ci95 is not None]
        ends = np.array([_to_percent(end) for _, low, high in bounds for end in (low, high, high)])
        heights = np.array([height for bound in bounds for height in (-float(bound[0]), -float(bound[0]), np.nan)])
        self.set_line("interval", "95 % CI", ends, heights, style_index=0)
        for verdict, style_index in _VERDICT_STYLES.items():
            positions = [position for position, row in enumerate(charted) if row.verdict == verdict]
            if positions:
                self.set_points(
                    verdict,
                    verdict,
                    [_to_percent(charted[position].ratio.value) for position in positions],
                    [-position for position in positions],
                    style_index=style_index,
                    hollow_flags=[verdict == "inconclusive"] * len(positions),
                    names=[f"{names[position]}: {verdict}" for position in positions],
                )
        self.set_line("no change", "no change", [0.0, 0.0], [0.5, 0.5 - len(charted)], style_index=2)
        line_px = self.fontMetrics().height()
        self.setMinimumHeight(round((1.6 * len(charted) + 5) * line_px))


def _to_percent(ratio: float | None) -> float:
    return np.nan if ratio is None else 100 * (ratio - 1)


class VerdictTab(QScrollArea):
    force_toggled = Signal(bool)
    replacement_requested = Signal()
    """Signal that is emitted when the user wants to replace the runs that cannot be compared."""
    reasons_requested = Signal()
    """Signal that is emitted when the user wants to see why a run is INVALID."""

    def __init__(self, theme_controller: ThemeController) -> None:
        super().__init__()
        self._outcome: Outcome | None = None
        self._badge, self._sentence_label = Badge(), label("", "heading", wrap=True)
        self._banner_label = label("", "word", wrap=True)
        self.force_box = QCheckBox("&Compare anyway (exports are marked FORCED)")
        self._no_differences_label = label("The runs have the same environment and settings.", "muted", wrap=True)
        self.differences = ShortTable(
            StateColoredModel(theme_controller, DIFFERENCE_HEADERS, {"effect": comparability_state}),
            "Environment differences",
            _MAX_DIFFERENCE_ROWS,
            max_column_characters=_MAX_COLUMN_CHARACTERS,
        )
        self.changes = FrameTable(
            StateColoredModel(
                theme_controller, CHANGE_HEADERS, {"verdict": verdict_state}, formatters={"metric": metric_text}
            ),
            "Changes",
            max_column_characters=_MAX_COLUMN_CHARACTERS,
        )
        self.stage_box, self.all_metrics_box = QComboBox(), QCheckBox("A&ll metrics")
        self.forest_chart = ForestChart(theme_controller)
        self._notes_label = label("", "muted", wrap=True)
        self.pairs_card = PairsCard()
        self.replace_button = button("Use another run…", self.replacement_requested.emit, primary=True)
        self.reasons_button = button("Show wh&y the run is INVALID", self.reasons_requested.emit)
        self._problem_actions = _create_row(self.replace_button, self.reasons_button)
        self._build()
        self.show_message("")
        self.force_box.toggled.connect(self.force_toggled)
        self.stage_box.currentIndexChanged.connect(self._show_changes)
        self.all_metrics_box.toggled.connect(self._show_changes)

    @property
    def sentence(self) -> str:
        return self._sentence_label.text()

    @property
    def measure_command(self) -> str:
        """Command that measures more A/B pairs; empty unless a headline metric is inconclusive."""
        return "" if self.pairs_card.isHidden() else self.pairs_card.command

    def show_message(self, text: str) -> None:
        """Show `text` instead of the result, for example the reason why there is no result."""
        self._outcome = None
        self._badge.show_verdict("")
        self._sentence_label.setText(text)
        for widget in self._result_widgets:
            widget.hide()
        self._problem_actions.hide()

    def show_outcome(self, outcome: Outcome) -> None:
        section = outcome.section
        if section is None:
            self.show_message(outcome.missing_input or "")
            self._problem_actions.setVisible(any(entry.problem is not None for entry in outcome.request.entries))
            return
        self._problem_actions.hide()
        self._outcome = outcome
        verdict_text, state = summarize_outcome(outcome)
        self._badge.show_verdict(verdict_text)
        restyle(self._badge, state)
        self._sentence_label.setText(sentence(section.summary) if section.rows else _no_comparison_text(outcome))
        # the sentence already names the differences of runs that were not compared
        is_compared = bool(section.rows) or outcome.request.is_forced or not outcome.blocking_differences
        self._banner_label.setText(section.banner or "")
        self._banner_label.setVisible(bool(section.banner) and is_compared)
        restyle(self._banner_label, "bad" if outcome.blocking_differences else "warn")
        self._show_differences(outcome)
        self._notes_label.setText(notes_text(section.notes))
        self._notes_label.setVisible(bool(section.notes))
        self._fill_stages(stage_names(outcome))
        self._show_changes()
        self.pairs_card.setVisible(outcome.suggestion is not None)
        if outcome.suggestion is not None:
            self.pairs_card.show_suggestion(outcome.request, outcome.suggestion)

    def _show_differences(self, outcome: Outcome) -> None:
        assert outcome.section is not None
        frame, _ = build_text_frame(DIFFERENCES, outcome.section.differences)
        self.differences.set_frame(frame)
        self.differences.setVisible(not frame.empty)
        self._no_differences_label.setVisible(frame.empty)
        self.force_box.setVisible(bool(outcome.blocking_differences))
        with QSignalBlocker(self.force_box):
            self.force_box.setChecked(outcome.request.is_forced)
        set_table_description(self.differences, "Environment differences")

    def _fill_stages(self, stages: tuple[str, ...]) -> None:
        fill_choices(
            self.stage_box,
            [("All stages", None), *((shorten(stage, _MAX_COLUMN_CHARACTERS), stage) for stage in stages)],
        )

    def _show_changes(self) -> None:
        if self._outcome is None or self._outcome.section is None:
            return
        section = self._outcome.section
        is_headline_only, stage = not self.all_metrics_box.isChecked(), self.stage_box.currentData()
        rows = select_rows(section, is_headline_only=is_headline_only, stage=stage)
        unpaired = select_unpaired(self._outcome.unpaired, is_headline_only=is_headline_only, stage=stage)
        frames = [build_text_frame(CHANGES, rows)[0], *([unpaired_frame(unpaired)] if unpaired else [])]
        frame = pd.concat(frames, ignore_index=True) if rows else frames[-1]
        self.changes.set_frame(frame)
        self.forest_chart.show_rows(rows)
        has_rows = bool(section.rows) or bool(self._outcome.unpaired)
        for widget in (self.changes, self.stage_box, self.all_metrics_box):
            widget.setVisible(has_rows)
        row_px = self.changes.verticalHeader().defaultSectionSize()
        self.changes.setMinimumHeight(row_px * (min(len(frame), _MAX_UNSCROLLED_ROWS) + 2))
        set_table_description(self.changes, "Changes")

    def _build(self) -> None:
        header = hbox(self._badge, (self._sentence_label, 1))
        filters = QHBoxLayout()
        self.stage_box.setAccessibleName("Filter by stage")
        self.stage_box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToContents)
        filters.addWidget(self.stage_box)
        filters.addWidget(self.all_metrics_box)
        filters.addStretch(1)
        content = QWidget()
        vbox(
            header,
            self._problem_actions,
            self._banner_label,
            self.force_box,
            self._no_differences_label,
            self.differences,
            filters,
            self.forest_chart,
            (self.changes, 1),
            self.pairs_card,
            self._notes_label,
            0,
            within=content,
            margins=TAB_MARGINS,
        )
        self._result_widgets: tuple[QWidget, ...] = (
            self._banner_label, self.force_box, self._no_differences_label, self.differences, self.stage_box,
            self.all_metrics_box, self.forest_chart, self.changes, self.pairs_card, self._notes_label,
        )  # fmt: skip
        self.setWidget(content)
        self.setWidgetResizable(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setFocusPolicy(self.focusPolicy().NoFocus)


def _no_comparison_text(outcome: Outcome) -> str:
    if outcome.blocking_differences:
        return "The runs are not comparable: {names} must be the same.".format(
            names=", ".join(outcome.blocking_differences)
        )
    return "These runs have no metric in common. Compare runs that share a stage or a variant."


def _create_row(*widgets: QWidget) -> QWidget:
    box = QWidget()
    hbox(*widgets, 1, within=box)
    return box
