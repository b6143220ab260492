"""Endpoints tab: endpoints that have been load-tested, each with the outcome of its last run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from PySide6.QtWidgets import QWidget

from app.gui.formatting import NOT_AVAILABLE, format_cell
from app.gui.library.list_pane import ListPane
from app.gui.library.run_listing import format_time
from app.gui.library.usage import EndpointUsage, find_endpoints
from app.gui.navigation import Navigation
from app.gui.widgets import EmptyState, button, vbox
from app.reporting.run_rows import RunRow
from app.storage.run_directory import SPEC


class EndpointsTab(QWidget):
    def __init__(self, navigation: Navigation) -> None:
        super().__init__()
        self._navigation = navigation
        self._endpoints: tuple[EndpointUsage, ...] = ()
        self._test_again_button = button("&Load-test again", self.test_again, primary=True)
        self._open_run_button = button("&Open last run", self.open_last_run)
        self.pane = ListPane(
            "Endpoints",
            "Your runs have load-tested these endpoints. The best max rate is taken from VALID and WARN runs.",
            (_HEADERS, {"last": format_time, "best": _format_rate}),
            [self._test_again_button, self._open_run_button],
            [],
            EmptyState(
                "No endpoints have been tested yet.",
                button("Load-&test an endpoint", self._go_to_run, primary=True),
            ),
        )
        vbox(self.pane, within=self)
        self.pane.opened.connect(self.test_again)

    def show_runs(self, rows: Sequence[RunRow]) -> None:
        endpoints = find_endpoints(rows)
        if endpoints != self._endpoints or not endpoints:
            self._endpoints = endpoints
            self.pane.set_frame(_build_frame(endpoints))

    def selected_endpoint(self) -> EndpointUsage | None:
        index = self.pane.selected_index()
        return None if index is None else self._endpoints[index]

    def test_again(self) -> None:
        endpoint = self.selected_endpoint()
        if endpoint is not None:
            self._navigation.open_profile_requested.emit(Path(endpoint.last_run.directory) / SPEC)

    def open_last_run(self) -> None:
        endpoint = self.selected_endpoint()
        if endpoint is not None:
            self._navigation.open_run_requested.emit(Path(endpoint.last_run.directory))

    def command_arguments(self) -> tuple[str, ...]:
        endpoint = self.selected_endpoint()
        if endpoint is not None:
            return ("run", str(Path(endpoint.last_run.directory) / SPEC))
        return ("runs", "list")

    def _go_to_run(self) -> None:
        self._navigation.page_requested.emit("run")


_HEADERS = {
    "where": "Endpoint",
    "protocol": "Protocol",
    "model": "Model",
    "outcome": "Last outcome",
    "validity": "Validity",
    "best": "Best max rate",
    "runs": "Runs",
    "last": "Last tested",
}


def _build_frame(endpoints: Sequence[EndpointUsage]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "where": [endpoint.url or "started by the run" for endpoint in endpoints],
            "protocol": [endpoint.protocol for endpoint in endpoints],
            "model": [endpoint.model for endpoint in endpoints],
            "outcome": [endpoint.last_run.outcome for endpoint in endpoints],
            "validity": [endpoint.last_run.verdict or endpoint.last_run.state for endpoint in endpoints],
            "best": [endpoint.best_rate_per_s for endpoint in endpoints],
            "runs": [endpoint.run_count for endpoint in endpoints],
            "last": [endpoint.last_run.started_at for endpoint in endpoints],
        }
    )


def _format_rate(value: object) -> str:
    text = format_cell(value)
    return text if text == NOT_AVAILABLE else f"{text} req/s"
