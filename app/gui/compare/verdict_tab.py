"""Verdict tab: environment differences, then the changes with their confidence intervals.

If a headline metric is inconclusive, a card suggests how many more A/B pairs are needed, and can
start their measurement.
"""

from __future__ import annotations

from PySide6.QtCore import QSignalBlocker, Signal
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QCheckBox, QComboBox, QFrame, QHBoxLayout, QScrollArea, QSpinBox, QWidget

from app.gui.compare.entries import ComparisonRequest
from app.gui.compare.frames import (
    CHANGE_HEADERS,
    DIFFERENCE_HEADERS,
    ShortTable,
    StateColoredModel,
    changes_frame,
    comparability_state,
    differences_frame,
    metric_text,
    notes_text,
    outcome_text,
    stage_names,
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
from app.gui.formatting import sentence
from app.gui.tables import FrameTable, set_table_description
from app.gui.theme import ThemeController
from app.gui.widgets import Badge, button, card, fill_choices, hbox, label, restyle, vbox


class PairsCard(QWidget):
    measurement_requested = Signal(object, int, int)
    """Emitted with the `PairsSuggestion`, the number of pairs, and the time limit in minutes when
    the user starts the measurement of A/B pairs."""

    def __init__(self) -> None:
        super().__init__()
        self._request: ComparisonRequest | None = None
        self._suggestion: PairsSuggestion | None = None
        self._is_measuring = False
        self._summary = label("", wrap=True)
        self._problem, self._duration_label = label("", "word", wrap=True), label("", "muted", wrap=True)
        self._command_label, self._command = label("Equivalent command:", "muted", wrap=True), label("", wrap=True)
        self.pairs, self.minutes = QSpinBox(), QSpinBox()
        self.run = button("", self._request_measurement, primary=True)
        self.copy = button("Cop&y command", self._copy_command)
        self._inputs = self._input_row()
        button_row = QWidget()
        set_flow_layout(button_row).addWidget(self.copy)
        frame = card(
            self._summary,
            self._problem,
            self._inputs,
            self._duration_label,
            self._command_label,
            self._command,
            button_row,
        )
        vbox(frame, within=self)
        self.pairs.valueChanged.connect(self._fit_minutes)
        self.minutes.valueChanged.connect(self._show)

    @property
    def command(self) -> str:
        return self._command.text()

    @property
    def problem(self) -> str:
        return self._problem.text()

    @property
    def duration(self) -> str:
        return self._duration_label.text()

    def show_suggestion(self, request: ComparisonRequest, suggestion: PairsSuggestion) -> None:
        self._request, self._suggestion = request, suggestion
        self._summary.setText(f"Inconclusive. About {suggestion.pairs} more A/B pairs are needed for a verdict.")
        self._problem.setText(suggestion.problem or "")
        self._problem.setVisible(suggestion.problem is not None)
        with QSignalBlocker(self.pairs):
            self.pairs.setValue(suggestion.pairs)
        self._fit_minutes()

    def set_measuring(self, is_measuring: bool) -> None:
        """Disable the inputs of the card while A/B pairs are being measured, and enable them
        afterwards."""
        self._is_measuring = is_measuring
        self._show()

    def _input_row(self) -> QWidget:
        self.pairs.setRange(1, MAX_PAIRS)
        self.pairs.setAccessibleName("Number of A/B pairs")
        self.minutes.setRange(MIN_MINUTES, MAX_MINUTES)
        self.minutes.setSuffix(" min")
        self.minutes.setAccessibleName("Time limit in minutes")
        row = QWidget()
        flow = set_flow_layout(row)
        flow.addWidget(self.run)
        for text, box in (("&Pairs", self.pairs), ("Ti&me limit", self.minutes)):
            flow.addWidget(_labeled(text, box))
        return row

    def _fit_minutes(self) -> None:
        if self._suggestion is not None:
            with QSignalBlocker(self.minutes):
                self.minutes.setValue(compute_time_limit_min(self._suggestion, self.pairs.value()))
        self._show()

    def _show(self) -> None:
        if self._request is None or self._suggestion is None:
            return
        pairs, minutes = self.pairs.value(), self.minutes.value()
        text = "R&un 1 more pair" if pairs == 1 else f"R&un {pairs} more pairs"
        self.run.setText(text)
        self.run.setAccessibleName(text.replace("&", ""))
        self.run.setEnabled(self._suggestion.problem is None and not self._is_measuring)
        for box in (self.pairs, self.minutes):
            box.setEnabled(not self._is_measuring)
        self._duration_label.setText(duration_text(self._suggestion, pairs, minutes))
        self._duration_label.setVisible(self._suggestion.problem is None)
        self._command.setText(build_measure_command(self._request, self._suggestion, pairs, minutes))

    def _request_measurement(self) -> None:
        if self._suggestion is not None:
            self.measurement_requested.emit(self._suggestion, self.pairs.value(), self.minutes.value())

    def _copy_command(self) -> None:
        QGuiApplication.clipboard().setText(self._command.text())


def _labeled(text: str, box: QSpinBox) -> QWidget:
    container = QWidget()
    hbox(label(text, buddy=box), box, within=container)
    return container


_MAX_DIFFERENCE_ROWS = 6
_MAX_UNSCROLLED_ROWS = 8
_MAX_COLUMN_CHARACTERS = 40


class VerdictTab(QScrollArea):
    force_toggled = Signal(bool)
    replacement_requested = Signal()
    """Emitted when the user wants to replace the runs that cannot be compared."""
    reasons_requested = Signal()
    """Emitted when the user wants to see why a run is INVALID."""

    def __init__(self, theme_controller: ThemeController) -> None:
        super().__init__()
        self._outcome: Outcome | None = None
        self._badge, self._sentence = Badge(), label("", "heading", wrap=True)
        self._banner = label("", "word", wrap=True)
        self.force = QCheckBox("&Compare anyway (exports are marked FORCED)")
        self._no_differences = label("No differences in environment or settings.", "muted", wrap=True)
        self.differences = ShortTable(
            StateColoredModel(theme_controller, DIFFERENCE_HEADERS, {"effect": comparability_state}),
            "Environment differences",
            _MAX_DIFFERENCE_ROWS,
            max_column_characters=_MAX_COLUMN_CHARACTERS,
        )
        self.changes = FrameTable(
            StateColoredModel(
                theme_controller, CHANGE_HEADERS, {"verdict": verdict_state}, formats={"metric": metric_text}
            ),
            "Changes",
            max_column_characters=_MAX_COLUMN_CHARACTERS,
        )
        self.stage, self.all_metrics = QComboBox(), QCheckBox("A&ll metrics")
        self._notes = label("", "muted", wrap=True)
        self.pairs = PairsCard()
        self.replace_button = button("Use ano&ther run…", self.replacement_requested.emit, primary=True)
        self.reasons_button = button("Show wh&y the run is INVALID", self.reasons_requested.emit)
        self._problem_actions = _row(self.replace_button, self.reasons_button)
        self._build()
        self.show_message("")
        self.force.toggled.connect(self.force_toggled)
        self.stage.currentIndexChanged.connect(self._show_changes)
        self.all_metrics.toggled.connect(self._show_changes)

    @property
    def sentence(self) -> str:
        return self._sentence.text()

    @property
    def measure_command(self) -> str:
        """Command that measures more A/B pairs; empty unless a headline metric is inconclusive."""
        return "" if self.pairs.isHidden() else self.pairs.command

    def show_message(self, text: str) -> None:
        """Show `text` instead of the result, for example the reason why there is no result."""
        self._outcome = None
        self._badge.show_verdict("")
        self._sentence.setText(text)
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
        verdict_text, state = outcome_text(outcome)
        self._badge.show_verdict(verdict_text)
        restyle(self._badge, state)
        self._sentence.setText(sentence(section.summary) if section.rows else _no_comparison_text(outcome))
        self._banner.setText(section.banner or "")
        self._banner.setVisible(bool(section.banner))
        restyle(self._banner, "bad" if outcome.blocking_differences else "warn")
        self._show_differences(outcome)
        self._notes.setText(notes_text(section.notes))
        self._notes.setVisible(bool(section.notes))
        self._fill_stages(stage_names(section))
        self._show_changes()
        self.pairs.setVisible(outcome.suggestion is not None)
        if outcome.suggestion is not None:
            self.pairs.show_suggestion(outcome.request, outcome.suggestion)

    def _show_differences(self, outcome: Outcome) -> None:
        assert outcome.section is not None
        frame = differences_frame(outcome.section)
        self.differences.set_frame(frame)
        self.differences.setVisible(not frame.empty)
        self._no_differences.setVisible(frame.empty)
        self.force.setVisible(bool(outcome.blocking_differences))
        with QSignalBlocker(self.force):
            self.force.setChecked(outcome.request.is_forced)
        set_table_description(self.differences, "Environment differences")

    def _fill_stages(self, stages: tuple[str, ...]) -> None:
        fill_choices(self.stage, [("All stages", None), *((stage[:_MAX_COLUMN_CHARACTERS], stage) for stage in stages)])

    def _show_changes(self) -> None:
        if self._outcome is None or self._outcome.section is None:
            return
        section = self._outcome.section
        frame = changes_frame(
            section, is_headline_only=not self.all_metrics.isChecked(), stage=self.stage.currentData()
        )
        self.changes.set_frame(frame)
        has_rows = bool(section.rows)
        for widget in (self.changes, self.stage, self.all_metrics):
            widget.setVisible(has_rows)
        row_px = self.changes.verticalHeader().defaultSectionSize()
        self.changes.setMinimumHeight(row_px * (min(len(frame), _MAX_UNSCROLLED_ROWS) + 2))
        set_table_description(self.changes, "Changes")

    def _build(self) -> None:
        header = hbox(self._badge, (self._sentence, 1))
        filters = QHBoxLayout()
        self.stage.setAccessibleName("Filter by stage")
        self.stage.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToContents)
        filters.addWidget(self.stage)
        filters.addWidget(self.all_metrics)
        filters.addStretch(1)
        content = QWidget()
        vbox(
            header,
            self._problem_actions,
            self._banner,
            self.force,
            self._no_differences,
            self.differences,
            filters,
            (self.changes, 1),
            self.pairs,
            self._notes,
            0,
            within=content,
            margins=(0, 10, 0, 0),
        )
        self._result_widgets: tuple[QWidget, ...] = (
            self._banner, self.force, self._no_differences, self.differences, self.stage, self.all_metrics,
            self.changes, self.pairs, self._notes,
        )  # fmt: skip
        self.setWidget(content)
        self.setWidgetResizable(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setFocusPolicy(self.focusPolicy().NoFocus)


def _no_comparison_text(outcome: Outcome) -> str:
    if outcome.blocking_differences:
        return "Not comparable: {names} must be the same.".format(names=", ".join(outcome.blocking_differences))
    return "These runs have no metric in common. Compare runs that share a stage or a variant."


def _row(*widgets: QWidget) -> QWidget:
    box = QWidget()
    hbox(*widgets, 1, within=box)
    return box
