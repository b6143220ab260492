"""Plan page: sizes a fleet for traffic, an SLO and constraints, and estimates its cost."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PySide6.QtGui import QUndoStack
from PySide6.QtWidgets import QLineEdit

from app.gui.background import submit
from app.gui.message_strip import MessageStrip
from app.gui.navigation import Navigation, Notice, PageKey, build_error_notice
from app.gui.page import Page
from app.gui.plan.empty import EmptyPlan
from app.gui.plan.exporting import ExportKind, write_export
from app.gui.plan.hardware_choices import list_hardware_choices
from app.gui.plan.hardware_picker import HardwarePicker
from app.gui.plan.presenter import PlanPresenter
from app.gui.plan.source_bar import SourceBar
from app.gui.plan.sources import PlannableRun, find_plannable_runs
from app.gui.plan.state import LoadedSources, PlanState
from app.gui.plan.workbench import Workbench
from app.gui.theme import GAP, ThemeController
from app.gui.widgets import label, scroll_area, stacked_widget, vbox
from app.wiring.planning import PlanRequest


class PlanPage(Page):
    """Plan page: source bar and notices, above the empty state or the workbench."""

    key: PageKey = "plan"

    def __init__(self, navigation: Navigation, theme_controller: ThemeController) -> None:
        super().__init__(navigation, theme_controller)
        self._pending_prices: tuple[Path, ...] = ()
        self._displayed_error: Exception | None = None
        self._displayed_sources: LoadedSources | None = None
        self.presenter = PlanPresenter(self)
        self.source_bar = SourceBar(self.presenter.undo_stack)
        self.strip = MessageStrip()
        self.empty_state, self.hardware_picker = EmptyPlan(), HardwarePicker()
        self._request_without_hardware: PlanRequest | None = None
        self.loading = label("Reading measurements and fitting a service model…", "muted", wrap=True)
        self.workbench = Workbench(self.presenter, theme_controller)
        # with large text in a small window the content scrolls, so that the window can stay small
        self.work_area = scroll_area(self.workbench)
        self.stack = stacked_widget(self.empty_state, self.hardware_picker, self.loading, self.work_area)
        vbox(self.source_bar, self.strip, (self.stack, 1), within=self, spacing=GAP)
        self._connect()
        self.show_state(self.presenter.state)

    def _connect(self) -> None:
        self.presenter.changed.connect(self.show_state)
        self.source_bar.sources_requested.connect(self.open_sources)
        self.source_bar.assumptions_requested.connect(self._open_assumptions)
        self.source_bar.closed.connect(self.presenter.close)
        self.source_bar.reset_requested.connect(self.presenter.reset)
        self.source_bar.export_requested.connect(self.export_to)
        self.empty_state.run_selected.connect(self._open_run)
        self.empty_state.sweep_requested.connect(self._open_run_page)
        self.empty_state.open_requested.connect(self.source_bar.choose_files)
        self.empty_state.assumptions.request_ready.connect(self.presenter.open)
        self.empty_state.assumptions.failed.connect(self._notify_error)
        self.hardware_picker.hardware_selected.connect(self.presenter.set_hardware)
        self.hardware_picker.canceled.connect(self.presenter.close)
        self.workbench.evidence.evidence_changed.connect(self._on_evidence_changed)
        self.workbench.evidence.failed.connect(self._notify_error)
        self.navigation.library_changed.connect(self.refresh_runs)

    def enter(self) -> None:
        self.presenter.prepare_simulator()
        self.refresh_runs()

    def refresh_runs(self) -> None:
        submit(self, find_plannable_runs, self._show_runs, self._notify_error)

    def open_sources(self, sources: Sequence[Path | str]) -> None:
        """Start a plan from sources that `sizewise plan` accepts: runs, results of another tool, or
        a plan file."""
        self.presenter.open(PlanRequest(tuple(map(str, sources)), offers=self._pending_prices))
        self._pending_prices = ()

    def open_prices(self, path: Path) -> None:
        """Add a price list to the catalog of the open plan, or of the next plan if no plan is
        open."""
        if self.presenter.state.loaded_sources is not None:
            self.presenter.add_price_list(path)
            return
        self._pending_prices = (*self._pending_prices, path)
        message = f"The prices in {path.name} apply to the next plan."
        self.strip.show_notice(Notice("news", message, None, "Choose a source for the plan."))

    def command_line(self) -> str | None:
        return self.presenter.command_line()

    def undo_stack(self) -> QUndoStack | None:
        return self.presenter.undo_stack

    def export(self) -> bool:
        if self.presenter.state.plan is None:
            return False
        self.source_bar.open_export_menu()
        return True

    def export_to(self, kind: ExportKind, destination: Path) -> None:
        state, command = self.presenter.state, self.presenter.command_line()
        plan, plan_inputs = state.plan, state.inputs
        if plan is None or plan_inputs is None or command is None:
            return
        submit(
            self,
            lambda: write_export(kind, plan, plan_inputs, command, destination),
            self._on_exported,
            self._notify_error,
        )

    def filter_field(self) -> QLineEdit | None:
        offers = self.workbench.offers
        has_offers = self.stack.currentWidget() is self.work_area and not offers.isHidden()
        return offers.filter_field if has_offers else None

    def run_directories(self) -> tuple[Path, ...]:
        request = self.presenter.request()
        paths = () if request is None else tuple(Path(source) for source in request.sources)
        return tuple(path for path in paths if (path / "events.jsonl").exists())

    def show_state(self, state: PlanState) -> None:
        self.source_bar.show_state(state)
        self._show_error(state)
        self._warn_assumed_traffic(state.loaded_sources)
        if state.request_without_hardware is not None:
            self._show_hardware_picker(state.request_without_hardware)
        elif state.phase in ("empty", "failed"):
            self.stack.setCurrentWidget(self.empty_state)
        elif state.phase == "loading":
            self.stack.setCurrentWidget(self.loading)
        else:
            self.workbench.show_state(state)
            self.stack.setCurrentWidget(self.work_area)

    def _show_hardware_picker(self, request: PlanRequest) -> None:
        self.stack.setCurrentWidget(self.hardware_picker)
        if request is not self._request_without_hardware:
            self._request_without_hardware = request
            self.hardware_picker.reset_selection(tuple(Path(source).name for source in request.sources))
            today = self.presenter.today
            submit(
                self,
                lambda: list_hardware_choices(request, today),
                self.hardware_picker.show_choices,
                self._notify_error,
            )

    def _warn_assumed_traffic(self, loaded_sources: LoadedSources | None) -> None:
        if loaded_sources is self._displayed_sources:
            return
        self._displayed_sources = loaded_sources
        if loaded_sources is not None and loaded_sources.is_traffic_assumed:
            template = "The sources do not define the traffic. A peak of {peak} req/s is assumed."
            peak_text = f"{loaded_sources.inputs.traffic.peak_per_s:g}"
            self.strip.show_notice(
                Notice("warning", template.format(peak=peak_text), None, "Set the peak under Traffic.")
            )

    def _show_error(self, state: PlanState) -> None:
        """Show each new error once, and hide the error when it is resolved."""
        if state.error is self._displayed_error:
            return
        if state.request_without_hardware is not None:  # the hardware picker explains this error and how to resolve it
            self.strip.hide()
            return
        if state.error is not None:
            self.strip.show_notice(build_error_notice(state.error))
        else:
            self.strip.hide()
        self._displayed_error = state.error

    def _show_runs(self, runs: tuple[PlannableRun, ...]) -> None:
        self.source_bar.show_runs(runs)
        self.empty_state.show_runs(runs)

    def _on_exported(self, paths: tuple[Path, ...]) -> None:
        message = f"The export was written to {', '.join(map(str, paths))}."
        self.strip.show_notice(Notice("news", message))

    def _on_evidence_changed(self, notice: Notice) -> None:
        """Make the plan again, which the user's own measurements calibrate."""
        self.presenter.reload()
        self.strip.show_notice(notice)

    def _notify_error(self, error: Exception) -> None:
        self.strip.show_notice(build_error_notice(error))

    def _open_run(self, directory: Path) -> None:
        self.open_sources((directory,))

    def _open_assumptions(self) -> None:
        self.presenter.close()
        self.empty_state.show_assumptions()

    def _open_run_page(self) -> None:
        self.navigation.page_requested.emit("run")
