from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
from msgspec.structs import replace
from pytestqt.qtbot import QtBot

from app.gui.compare.page import ComparePage
from app.gui.navigation import Navigation
from app.gui.theme import ThemeController
from app.records.result import Result
from app.storage.run_directory import RunWriter, runs_home
from loadgen.records import REQUEST_SCHEMA
from tests.fakes.repeated import result, steady
from tests.fakes.results import SPEC, full_run


def store_run(run: Result, day: int = 1, rows: pd.DataFrame | None = None) -> Path:
    clock = replace(run.clock, wall_start=f"2026-08-{day:02d}T12:00:00+00:00")
    with RunWriter(runs_home() / run.run_id) as writer:
        writer.write_spec(SPEC)
        if rows is not None:
            request_rows = (
                rows.reindex(columns=REQUEST_SCHEMA.names).astype(object).where(lambda frame: frame.notna(), None)
            )
            for batch in pa.Table.from_pandas(request_rows, REQUEST_SCHEMA, preserve_index=False).to_batches():
                writer.append_requests(batch)
        writer.write_result(replace(run, clock=clock, artifacts=writer.seal()))
    return runs_home() / run.run_id


@pytest.fixture
def baseline(no_leftovers: None) -> Path:
    return store_run(result(steady(10.0, 0.1), run_id="baseline"), 1)


@pytest.fixture
def slower_run(no_leftovers: None) -> Path:
    return store_run(result(steady(20.0, 0.5), run_id="slower"), 2)


@pytest.fixture
def other_load(no_leftovers: None) -> Path:
    return store_run(replace(result(steady(30.0, 0.1), run_id="other-load"), workload_hash="another"), 3)


@pytest.fixture
def searched(no_leftovers: None) -> tuple[Path, ...]:
    """Two complete runs with their request rows; the second has half the latency of the first."""
    full = full_run()
    faster_rows = full.rows.assign(
        end_ns=full.rows["scheduled_ns"] + (full.rows["end_ns"] - full.rows["scheduled_ns"]) // 2
    )
    return (
        store_run(replace(full.result, run_id="searched", workload_hash="one"), 1, full.rows),
        store_run(replace(full.result, run_id="quicker", workload_hash="one"), 2, faster_rows),
    )


@pytest.fixture
def open_page(qtbot: QtBot, navigation: Navigation, theme: ThemeController) -> Callable[[], ComparePage]:
    def open_compare_page() -> ComparePage:
        page = ComparePage(navigation, theme)
        qtbot.addWidget(page)
        page.resize(1120, 720)
        page.show()
        page.enter()
        return page

    return open_compare_page


def wait_until_idle(qtbot: QtBot, page: ComparePage) -> None:
    """Wait until the requested comparison and trend are shown."""
    presenter, trend = page.presenter, page.trend_tab
    qtbot.waitUntil(
        lambda: (
            not presenter.is_busy
            and not trend.is_busy
            and (presenter.outcome is not None or not page.run_directories())
        )
    )
