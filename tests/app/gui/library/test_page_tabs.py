from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from msgspec.structs import replace
from PySide6.QtCore import Qt
from pytestqt.qtbot import QtBot

from app.cli.main import main
from app.gui.library.offers_tab import Prices
from app.gui.library.page import UNDO_TIMEOUT_MS, LibraryPage
from app.gui.library.remembered_files import list_remembered_files, remember
from app.gui.navigation import Navigation
from app.profiles.bundled import bundled_models, bundled_profiles
from app.reporting.offer_rows import build_offer_row
from tests.app.gui.library.conftest import FULL_RESULT, store_run
from tests.fakes.offers import TODAY, offer

OpenPage = Callable[[], LibraryPage]


def open_tab(qtbot: QtBot, page: LibraryPage, index: int, rows: int = 1) -> None:
    page.tabs.setCurrentIndex(index)
    pane = page.current_tab().pane  # type: ignore[attr-defined]
    qtbot.waitUntil(lambda: pane.table.frame_model.rowCount() >= rows)


def test_selected_model_is_inspected_and_opened_for_a_benchmark(
    open_page: OpenPage, navigation: Navigation, qtbot: QtBot
) -> None:
    page = open_page()
    open_tab(qtbot, page, 1)
    tab = page.models_tab
    tab.pane.select(0)
    qtbot.waitUntil(lambda: "367,855 parameters" in tab.card.text)
    assert page.command_line() == f"sizewise models inspect {bundled_models()['digits']}"
    with qtbot.waitSignal(navigation.open_model_requested) as opened:
        tab.benchmark()
    assert opened.args == [bundled_models()["digits"]]


def test_user_model_is_added_relocated_and_forgotten(open_page: OpenPage, qtbot: QtBot, tmp_path: Path) -> None:
    model = tmp_path / "mine.onnx"
    shutil.copy(bundled_models()["fraud"], model)
    remember("models", model)
    page = open_page()
    bundled = len(bundled_models())
    open_tab(qtbot, page, 1, bundled + 1)
    tab = page.models_tab
    model.rename(tmp_path / "moved.onnx")
    tab.file_actions.changed.emit()
    qtbot.waitUntil(lambda: tab.pane.table.frame_model.frame["origin"].iloc[bundled] == "missing file")
    tab.pane.select(bundled)
    assert tab.file_actions.relocate_button.isVisible()
    tab.file_actions.relocate(tmp_path / "moved.onnx")
    qtbot.waitUntil(lambda: tab.pane.table.frame_model.frame["origin"].iloc[bundled] == "added")
    assert not tab.file_actions.relocate_button.isVisible()
    tab.file_actions.forget()
    qtbot.waitUntil(lambda: tab.pane.table.frame_model.rowCount() == bundled)
    assert list_remembered_files("models") == ()


def test_invalid_model_file_is_reported_in_its_card(open_page: OpenPage, qtbot: QtBot, tmp_path: Path) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"no model")
    remember("models", tmp_path / "bad.onnx")
    page = open_page()
    open_tab(qtbot, page, 1, len(bundled_models()) + 1)
    page.models_tab.pane.select(len(bundled_models()))
    qtbot.waitUntil(lambda: "is not" in page.models_tab.card.text)


def test_endpoint_has_its_last_verdict_and_best_rate_and_opens_its_profile(
    library_runs: list[Path], open_page: OpenPage, navigation: Navigation, qtbot: QtBot
) -> None:
    other_endpoint = replace(
        FULL_RESULT, target=replace(FULL_RESULT.target, urls=("http://10.0.0.7/v1",), model="llama")
    )
    newest = store_run("run-e", other_endpoint, 9)
    page = open_page()
    open_tab(qtbot, page, 2, 2)
    tab = page.endpoints_tab
    frame = tab.pane.table.frame_model.frame
    assert frame["where"].tolist() == ["http://10.0.0.7/v1", FULL_RESULT.target.urls[0]]
    assert frame["runs"].tolist() == [1, 3]
    assert frame["validity"].tolist() == ["WARN", "INVALID"]
    assert frame["best"].tolist() == [218.0, 218.0]
    tab.pane.select(0)
    with qtbot.waitSignal(navigation.open_profile_requested) as opened:
        tab.test_again()
    assert opened.args == [newest / "spec.yaml"]


def test_offers_tab_lists_and_filters_the_offers_of_the_command(
    open_page: OpenPage, qtbot: QtBot, capsys: pytest.CaptureFixture[str], navigation: Navigation, tmp_path: Path
) -> None:
    page = open_page()
    open_tab(qtbot, page, 3)
    tab = page.offers_tab
    frame = tab.pane.table.frame_model.frame
    assert main(["offers", "list"]) == 0
    command_offers = [line.split()[0] for line in capsys.readouterr().out.splitlines()[2:]]
    assert frame["offer"].tolist() == command_offers
    assert f"{len(command_offers)} offers" in tab.note
    tab.pane.filter_field.setText("aws L4 us-east-1")
    filtered = tab.pane.table.frame_model.visible_frame()
    assert 0 < len(filtered) < len(frame)
    assert all("aws/" in offer for offer in filtered["offer"])
    with qtbot.waitSignal(navigation.open_prices_requested) as opened:
        tab.open_prices(tmp_path / "mine.csv")
    assert opened.args == [tmp_path / "mine.csv"]


def test_offers_with_a_price_over_30_days_old_are_counted() -> None:
    ages_days = (0, 30, 31, 90, 91)
    aged_offers = [offer(as_of=TODAY - timedelta(days=age_days)) for age_days in ages_days]
    rows = tuple(build_offer_row(aged_offer, TODAY) for aged_offer in aged_offers)
    assert tuple(row.age_days for row in rows) == ages_days
    assert Prices(rows, None, None).stale_count == 3


def test_imported_price_list_is_named_and_its_overrides_are_marked(
    open_page: OpenPage, qtbot: QtBot, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prices = tmp_path / "mine.csv"
    prices.write_text("provider,instance_type,region,on_demand_usd_per_hour\naws,g6.xlarge,us-east-1,0.5\n")
    assert main(["offers", "import", str(prices)]) == 0
    page = open_page()
    open_tab(qtbot, page, 3)
    assert f"Your price list {prices}" in page.offers_tab.note
    frame = page.offers_tab.pane.table.frame_model.frame
    assert frame[frame["overrides"] == "on-demand"]["offer"].tolist() == ["aws/g6.xlarge@us-east-1"]


def test_profiles_tab_shows_validity_and_opens_a_profile(
    library_runs: list[Path], open_page: OpenPage, navigation: Navigation, qtbot: QtBot, tmp_path: Path
) -> None:
    invalid_profile = tmp_path / "wrong.yaml"
    invalid_profile.write_text("sizewise: 1\nnam: typo\n")
    remember("profiles", tmp_path / "gone.yaml")
    remember("profiles", invalid_profile)
    page = open_page()
    open_tab(qtbot, page, 4)
    tab, bundled = page.profiles_tab, len(bundled_profiles())
    states = tab.pane.table.frame_model.frame["state"].tolist()
    assert states[:bundled] == ["valid"] * bundled
    assert states[bundled].startswith("has errors: target must be a mapping"), "the path is in its own column"
    assert states[bundled + 1] == "missing file"
    tab.pane.select(bundled + 1)
    assert not tab.open_button.isEnabled()
    tab.pane.select(0)
    first_name = next(iter(bundled_profiles()))
    assert page.command_line() == f"sizewise profiles check {first_name}"
    with qtbot.waitSignal(navigation.open_profile_requested) as opened:
        qtbot.keyClick(tab.pane.table, Qt.Key.Key_Return)
    assert opened.args == [bundled_profiles()[first_name]]


def test_undo_timeout_of_a_deleted_run_is_30_s() -> None:
    assert UNDO_TIMEOUT_MS == 30_000


def test_library_filter_field_is_that_of_the_current_tab(open_page: OpenPage, qtbot: QtBot) -> None:
    page = open_page()
    assert page.filter_field() is page.runs_tab.filters.search_field
    page.tabs.setCurrentIndex(3)
    assert page.filter_field() is page.offers_tab.pane.filter_field
