"""The list of 100,000 runs: filled, sorted, searched, scrolled. CPU time; budget 16 ms a frame of the wheel."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import partial

import numpy as np

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QApplication

from app.gui.library.run_listing import build_listing
from app.gui.library.runs_presenter import RunsPresenter
from app.gui.library.runs_tab import RunsTab
from app.gui.navigation import Navigation
from app.gui.theme import ThemeController
from app.records.estimate import Estimate
from app.reporting.run_rows import HeadlineNumber, Listing, RunRow

ROWS, FRAMES = 100_000, 120
_VALIDITIES = ("VALID", "WARN", "INVALID")


def main() -> None:
    application = QApplication.instance() or QApplication([])
    assert isinstance(application, QApplication)
    navigation, theme = Navigation(), ThemeController(application, "light")
    presenter = RunsPresenter(navigation)
    tab = RunsTab(navigation, theme, presenter)
    tab.resize(1120, 720)
    tab.show()
    rows = tuple(map(_row, range(ROWS)))
    listed = build_listing(Listing(rows))
    _timed(f"{ROWS:,} rows as a frame (in the background)", lambda: build_listing(Listing(rows)))
    _timed("shown", lambda: _show(application, lambda: tab.show_listed_runs(listed)))
    _timed("sorted by size", lambda: tab.table.sortByColumn(6, Qt.SortOrder.AscendingOrder))
    for words in ("s", "scoring", "scoring nightly", ""):
        _timed(f"searched for {words!r}", partial(_show, application, partial(tab.filters.search_field.setText, words)))
    _scroll(application, tab)
    _timed("grouped by profile", lambda: _show(application, lambda: tab.model.set_grouped(True)))
    _scroll(application, tab)
    tab.close()


def _scroll(application: QApplication, tab: RunsTab) -> None:
    """Scroll by the wheel, three rows per notch, and by the bar, which replaces all rows."""
    bar = tab.table.verticalScrollBar()
    for tool, step in (("the wheel", 3), ("the bar", bar.maximum() // FRAMES)):
        frames_ms = []
        for frame in range(FRAMES):
            start = time.process_time()
            bar.setValue(step * frame)
            application.processEvents()
            frames_ms.append(1e3 * (time.process_time() - start))
        print(
            f"scrolled by {tool}: median {np.median(frames_ms):.1f} ms a frame, p95 {np.percentile(frames_ms, 95):.1f}"
        )


def _row(index: int) -> RunRow:
    return RunRow(
        f"20260801-{index:06d}-scoring-1f2a",
        f"/runs/20260801-{index:06d}-scoring-1f2a",
        name=("scoring", "chat", "quickstart")[index % 3],
        outcome="PASS",
        verdict=_VALIDITIES[index % 7 % 3],
        max_rate_text=f"{index % 900}/s",
        number=HeadlineNumber("max_rate_within_slo", None, "1/s", "higher", "search", Estimate(float(index % 900))),
        comparability_key=f"{index % 3}",
        usd_per_month=float(index % 5_000),
        tags=("nightly",) if index % 5 == 0 else (),
        started_at=f"2026-08-01T{index // 3600 % 24:02d}:{index // 60 % 60:02d}:{index % 60:02d}+00:00",
        url="http://10.0.0.7/v1",
        size_bytes=index * 997 % 5_000_000,
    )


def _search(application: QApplication, tab: RunsTab, words: str) -> None:
    tab.filters.search_field.setText(words)
    application.processEvents()


def _show(application: QApplication, action: Callable[[], object]) -> None:
    action()
    application.processEvents()


def _timed(label: str, action: Callable[[], object]) -> None:
    start = time.process_time()
    action()
    print(f"{label}: {1e3 * (time.process_time() - start):,.0f} ms")


if __name__ == "__main__":
    main()
