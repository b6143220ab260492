"""Traffic inputs of a plan: peak rate, daily profile, growth and spikes."""

from __future__ import annotations

from PySide6.QtCore import QSignalBlocker, QTime, Signal
from PySide6.QtWidgets import QCheckBox, QTimeEdit, QWidget

from app.gui.formatting import format_number
from app.gui.plan.day_curve import HOURS, CapacityLine, DayCurve
from app.gui.plan.fields import ChoiceField, CountField, LogSlider, NumberField
from app.gui.plan.presenter import create_merge_id
from app.gui.plan.result_widgets import CapacityRow
from app.gui.plan.rows import InputRow
from app.gui.plan.state import Change, Edits, TrafficSource, Values
from app.gui.theme import ThemeController
from app.gui.widgets import hbox, label, vbox
from app.profiles.traffic import SHAPES
from app.records.planning_inputs import PlanningInputs
from app.records.traffic import RecurringSpike, Traffic

_MAX_RATE_PER_S = 1e6
_SIZED_PEAK_RATIO = 1.005
"""Ratio to the peak of today above which the peak that the fleet is sized for is stated."""
_SLIDER_FACTOR = 30.0
"""Factor of the slider range: from the initial peak rate divided by this factor to the initial peak
rate times this factor."""


class PeakRow(InputRow):
    """Input row for the peak traffic, entered as a rate or calculated from the number of users and
    their activity."""

    def __init__(self) -> None:
        super().__init__("traffic.peak", "&Peak")
        self.slider = LogSlider()
        self.rate = NumberField(0.001, _MAX_RATE_PER_S, 3, " req/s")
        self.users_check_box = QCheckBox("Calculate from &users")
        self.user_count = NumberField(1, 1e12, 0, " users")
        self.active_share = NumberField(0.01, 100, 2, " % active at peak")
        self.requests_per_user = NumberField(0.001, 1e6, 3, " req/h per user")
        self._merge_id = create_merge_id()
        self._source: TrafficSource = "peak"
        self._hourly_shares: tuple[float, ...] = ()
        self.set_field(self.slider)
        self.set_field(self.rate)
        self.slider.setAccessibleName("Peak (slider)")
        self.column.addWidget(self.users_check_box)
        for field, name in (
            (self.user_count, "Users"),
            (self.active_share, "Share of users active at peak"),
            (self.requests_per_user, "Requests per active user per hour"),
        ):
            field.setAccessibleName(name)
            field.setToolTip(name)
            field.setVisible(False)
            self.column.addWidget(field)
            field.valueChanged.connect(self._request_users)
            field.editingFinished.connect(self._renew_merge_id)
        self.slider.moved.connect(self._request_rate)
        self.slider.sliderReleased.connect(self._renew_merge_id)
        self.rate.valueChanged.connect(self._request_rate)
        self.rate.editingFinished.connect(self._renew_merge_id)
        self.users_check_box.toggled.connect(self._toggle_users)

    def keys(self) -> tuple[str, ...]:
        return ("traffic.peak", "traffic.users", "traffic.trace")

    def reset_range(self, source: TrafficSource, peak_per_s: float) -> None:
        """Reset the row for plan inputs from other sources, with the slider range centered on
        `peak_per_s`."""
        self._source = source
        self.slider.set_bounds(
            max(peak_per_s / _SLIDER_FACTOR, 1e-3), min(peak_per_s * _SLIDER_FACTOR, _MAX_RATE_PER_S)
        )

    def show_inputs(self, plan_inputs: PlanningInputs, edits: Edits) -> None:
        super().show_inputs(plan_inputs, edits)
        peak = plan_inputs.traffic.peak_per_s
        self._hourly_shares = plan_inputs.traffic.hourly_share
        self.rate.show_value(peak)
        if not self.slider.isSliderDown():
            self.slider.show_amount(peak)
        has_users = bool(edits.value("traffic.users")) and edits.value("traffic.users") != "null"
        with QSignalBlocker(self.users_check_box):
            self.users_check_box.setChecked(has_users)
        self._show_user_fields(has_users)

    def _show_user_fields(self, has_users: bool) -> None:
        for field in (self.user_count, self.active_share, self.requests_per_user):
            field.setVisible(has_users)
        self.rate.setEnabled(not has_users)
        self.slider.setEnabled(not has_users)

    def _request_rate(self, rate: float) -> None:
        values: Values = (("traffic.users", None), *disable_source(self._source), ("traffic.peak", f"{rate!r}/s"))
        if self._source == "trace":  # removing the trace would also remove its daily profile
            values = (*values, ("traffic.shape", format_shape(self._hourly_shares)))
        title = f"Peak {rate:,g} req/s"
        self.change_requested.emit(Change(title, values, merge_id=self._merge_id))

    def _toggle_users(self, is_checked: bool) -> None:
        if not is_checked:
            self._reset()
            return
        peak = self.rate.value()
        was_blocked_before = [
            field.blockSignals(True) for field in (self.user_count, self.active_share, self.requests_per_user)
        ]
        self.active_share.setValue(10.0)
        self.requests_per_user.setValue(60.0)
        self.user_count.setValue(max(1.0, round(peak * 600)))
        for field, was_blocked in zip(
            (self.user_count, self.active_share, self.requests_per_user), was_blocked_before, strict=True
        ):
            field.blockSignals(was_blocked)
        self._request_users()

    def _request_users(self, _: float = 0.0) -> None:
        active_percent, requests_per_user = self.active_share.value(), self.requests_per_user.value()
        users_text = (
            f"{{count: {self.user_count.value():.0f}, active: {active_percent:g}%, requests: {requests_per_user:g}/h}}"
        )
        values: Values = (("traffic.peak", "null"), ("traffic.users", users_text))
        if self._source == "trace":
            values = (("traffic.trace", "null"), *values)
        title = f"{self.user_count.value():,.0f} users"
        self.change_requested.emit(Change(title, values, merge_id=self._merge_id))

    def _renew_merge_id(self) -> None:
        self._merge_id = create_merge_id()


def disable_source(source: TrafficSource) -> Values:
    """Return the `--set` values that disable a traffic source defined by the profile; empty if the
    source is `peak`, which needs no disabling."""
    return () if source == "peak" else ((f"traffic.{source}", "null"),)


def format_shape(shares: tuple[float, ...]) -> str:
    """Format the hourly shares of the peak rate as `--set traffic.shape` expects them."""
    return f"[{', '.join('1' if share == 1 else f'{share:.4f}' for share in shares)}]"


class DayRow(InputRow):
    """Input row for the daily profile, as a curve of rates. Changing the busiest hour also changes
    the peak rate."""

    def __init__(self, theme_controller: ThemeController) -> None:
        super().__init__("traffic.shape", "&Daily profile")
        self._source: TrafficSource = "peak"
        self.preset = ChoiceField(
            (
                ("workday", "Business hours"),
                ("evening", "Evening peak"),
                ("flat", "Flat"),
                ("custom", "Custom"),
            )
        )
        self.curve = DayCurve(theme_controller)
        self.hour_field = CountField(0, HOURS - 1)
        self.hour_field.setSuffix(":00")
        self.rate = NumberField(0, _MAX_RATE_PER_S, 3, " req/s")
        self.share_label = label("", "muted", wrap=True)
        self.capacity_label = label("", "muted", wrap=True)
        self.capacity_label.hide()
        self._merge_id = create_merge_id()
        self.set_field(self.preset)
        self.column.addWidget(self.curve)
        for field, name in ((self.hour_field, "Hour of the day"), (self.rate, "Request rate in this hour")):
            field.setAccessibleName(name)
            field.setToolTip(name)
        self.column.addLayout(hbox(self.hour_field, self.rate))
        self.column.addWidget(self.share_label)
        self.column.addWidget(self.capacity_label)
        self.preset.activated.connect(self._request_preset)
        self.curve.rates_requested.connect(self._request_rates)
        self.curve.hour_selected.connect(self._show_hour)
        self.hour_field.valueChanged.connect(self.curve.select_hour)
        self.rate.valueChanged.connect(self._request_rate)
        self.rate.editingFinished.connect(self._renew_merge_id)
        self._show_hour(self.curve.selected_hour)

    def set_source(self, source: TrafficSource) -> None:
        self._source = source

    def show_inputs(self, plan_inputs: PlanningInputs, edits: Edits) -> None:
        super().show_inputs(plan_inputs, edits)
        traffic = plan_inputs.traffic
        self.curve.set_rates(tuple(traffic.peak_per_s * share for share in traffic.hourly_share))
        self.preset.show_value(_find_preset(traffic))
        self._show_hour(self.curve.selected_hour)

    def show_capacity(self, rows: tuple[CapacityRow, ...], traffic: Traffic, sized_peak_per_s: float | None) -> None:
        """Show what the instances of the selected offer sustain at the plan's confidence, beside
        the rates of the day, including what a cache serves."""
        uncached_share = 1.0 - traffic.cache_share
        self.curve.set_capacity_lines(
            tuple(
                CapacityLine(row.name, row.sustained_per_s / uncached_share, row.offset == 0, 0.5 * (row.offset + 1))
                for row in rows
            )
            if uncached_share > 0
            else ()
        )
        planned = next((row for row in rows if row.offset == 0), None)
        if planned is not None:
            text = f"N = {planned.instances} without spares; {self.curve.format_capacity()}"
            if (sized_peak_per_s or 0.0) > traffic.peak_per_s * uncached_share * _SIZED_PEAK_RATIO:
                text += f"; sized for a peak of {format_number(sized_peak_per_s or 0.0)} req/s, with growth and spikes"
            self.capacity_label.setText(text)
        self.capacity_label.setVisible(planned is not None)

    def _show_hour(self, hour: int) -> None:
        with QSignalBlocker(self.hour_field):
            self.hour_field.setValue(hour)
        self.rate.show_value(self.curve.rates()[hour])
        self.share_label.setText(self.curve.format_hour())

    def _request_preset(self, _: int) -> None:
        shape = self.preset.currentData()
        if shape != "custom":
            title = f"Daily profile: {self.preset.currentText()}"
            self.change_requested.emit(Change(title, (("traffic.shape", str(shape)),)))

    def _request_rate(self, rate: float) -> None:
        self.curve.request_rate(self.curve.selected_hour, rate, self._merge_id)

    def _request_rates(self, rates: tuple[float, ...], merge_id: int) -> None:
        peak = max(rates)
        values: Values = (("traffic.shape", format_shape(tuple(rate / peak for rate in rates))),)
        if abs(peak - max(self.curve.rates())) > 1e-9 * peak:
            source_values: Values = (("traffic.users", None), *disable_source(self._source))
            values = (*source_values, ("traffic.peak", f"{peak!r}/s"), *values)
        self.change_requested.emit(Change("Custom daily profile", values, merge_id=merge_id))

    def _renew_merge_id(self) -> None:
        self._merge_id = create_merge_id()


def _find_preset(traffic: Traffic) -> str:
    return next((name for name, shares in SHAPES.items() if shares == traffic.hourly_share), "custom")


class SpikeRow(InputRow):
    """Input row for a spike that recurs daily. The spikes of a profile apply until the user sets a
    spike in this row."""

    def __init__(self) -> None:
        super().__init__("traffic.spikes", "Daily sp&ike")
        self.enabled_check_box = QCheckBox("Enabled")
        self.factor = NumberField(0.1, 1000, 2, " × normal traffic")
        self.start_time = QTimeEdit()
        self.start_time.setDisplayFormat("HH:mm")
        self.duration_minutes = NumberField(1, 1440, 0, " min")
        self.further_spikes_label = label("", "muted", wrap=True)
        self._fields = QWidget()
        vbox(self.factor, hbox(self.start_time, (self.duration_minutes, 1)), within=self._fields)
        for field, name in (
            (self.factor, "Multiplier of normal traffic"),
            (self.start_time, "Start time"),
            (self.duration_minutes, "Duration in minutes"),
        ):
            field.setAccessibleName(name)
            field.setToolTip(name)
        self.set_field(self.enabled_check_box, is_inline=True)
        self.column.addWidget(self._fields)
        self.column.addWidget(self.further_spikes_label)
        self.enabled_check_box.toggled.connect(self._request_change)
        self.factor.valueChanged.connect(self._request_change)
        self.duration_minutes.valueChanged.connect(self._request_change)
        self.start_time.timeChanged.connect(self._request_change)
        self._is_updating = False

    def show_inputs(self, plan_inputs: PlanningInputs, edits: Edits) -> None:
        super().show_inputs(plan_inputs, edits)
        spikes = plan_inputs.traffic.spikes
        spike = spikes[0] if spikes else RecurringSpike(12 * 3600.0, 1800.0, 2.0)
        self._is_updating = True
        self.enabled_check_box.setChecked(bool(spikes))
        self.factor.show_value(spike.times)
        self.duration_minutes.show_value(spike.duration_s / 60)
        self.start_time.setTime(QTime(0, 0).addSecs(int(spike.at_s)))
        self._is_updating = False
        self._fields.setVisible(bool(spikes))
        further_count = len(spikes) - 1
        self.further_spikes_label.setText(
            f"Further spikes in the profile: {further_count}" if further_count > 0 else ""
        )
        self.further_spikes_label.setVisible(further_count > 0)

    def _request_change(self, _: object = None) -> None:
        if self._is_updating:
            return
        if not self.enabled_check_box.isChecked():
            self.change_requested.emit(Change("No spike", (("traffic.spikes", "[]"),)))
            return
        start_time = self.start_time.time().toString("HH:mm")
        spike_text = (
            f'[{{at: "{start_time}", for: {self.duration_minutes.value():g}m, times: {self.factor.value():g}}}]'
        )
        title = f"Spike {self.factor.value():g} × at {start_time}"
        self.change_requested.emit(Change(title, (("traffic.spikes", spike_text),)))


class TrafficRows(QWidget):
    """All input rows for traffic, stacked vertically."""

    change_requested = Signal(object)

    def __init__(self, theme_controller: ThemeController, extra_rows: tuple[InputRow, ...]) -> None:
        super().__init__()
        self.peak, self.day, self.spike = PeakRow(), DayRow(theme_controller), SpikeRow()
        self.rows: tuple[InputRow, ...] = (self.peak, self.day, *extra_rows, self.spike)
        vbox(*self.rows, within=self, spacing=7)
        for row in self.rows:
            row.change_requested.connect(self.change_requested)

    def reset(self, source: TrafficSource, peak_per_s: float) -> None:
        self.peak.reset_range(source, peak_per_s)
        self.day.set_source(source)

    def show_inputs(self, plan_inputs: PlanningInputs, edits: Edits) -> None:
        for row in self.rows:
            row.show_inputs(plan_inputs, edits)
