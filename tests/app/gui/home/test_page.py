from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QBoxLayout, QLabel, QPushButton
from pytestqt.qtbot import QtBot

from app.gui.docks.machine_watch import MachineWatch
from app.gui.home.cards import RunButton
from app.gui.home.page import HomePage
from app.gui.navigation import Launch, Navigation
from app.gui.recovery import Recovery
from app.gui.settings import open_settings
from app.gui.theme import ThemeController
from app.storage.run_directory import StoredRun, runs_home
from tests.fakes.stored_runs import stored_run, truncate_run
from tests.fakes.widget_walk import unnamed_widgets, unreachable_widgets


@pytest.fixture
def page(qtbot: QtBot, navigation: Navigation, theme: ThemeController) -> HomePage:
    page = HomePage(navigation, theme)
    qtbot.addWidget(page)
    page.resize(1000, 700)
    with qtbot.waitExposed(page):
        page.show()
    return page


def find_button(page: HomePage, name: str) -> QPushButton:
    buttons = page.findChildren(QPushButton)
    (button,) = (
        candidate for candidate in buttons if name in (candidate.accessibleName(), candidate.text().replace("&", ""))
    )
    return button


def test_enter_f5_and_the_button_start_the_quick_check(qtbot: QtBot, navigation: Navigation, page: HomePage) -> None:
    page.enter()
    for press in (lambda: qtbot.keyClick(page, Qt.Key.Key_Return), page.start, page.quick_check_button.click):
        with qtbot.waitSignal(navigation.launch_requested) as launch_request:
            press()
        (launch,) = launch_request.args
        assert isinstance(launch, Launch)
        assert launch.arguments == ("quickstart", "--seconds", "2", "--no-retry")
    assert page.command_line() == "sizewise quickstart --seconds 2 --no-retry"


def test_enter_presses_a_focused_button_of_the_home_page(qtbot: QtBot, navigation: Navigation, page: HomePage) -> None:
    size = find_button(page, "Size my hardware")
    size.setFocus()
    with (
        qtbot.assertNotEmitted(navigation.launch_requested),
        qtbot.waitSignal(navigation.page_requested) as page_request,
    ):
        qtbot.keyClick(size, Qt.Key.Key_Return)
    assert page_request.args == ["plan"]


def test_large_buttons_of_the_home_page_open_their_pages(qtbot: QtBot, navigation: Navigation, page: HomePage) -> None:
    for name, kind in (("Benchmark a model", "local"), ("Load-test an endpoint", "endpoint")):
        requests: list[str] = []
        for signal in (navigation.page_requested, navigation.new_profile_requested):
            signal.connect(requests.append)
        qtbot.mouseClick(find_button(page, name), Qt.MouseButton.LeftButton)
        assert requests == ["run", kind]


def test_home_page_without_runs_reports_that_the_bundled_model_is_selected(qtbot: QtBot, page: HomePage) -> None:
    page.enter()
    qtbot.waitUntil(lambda: "There are no runs yet" in page._no_runs_label.text())
    assert "already selected" in page._no_runs_label.text()


def test_home_page_lists_the_last_five_runs_with_badges(qtbot: QtBot, navigation: Navigation, page: HomePage) -> None:
    runs_home().mkdir(parents=True)
    first = stored_run(runs_home() / "20261120").directory
    for number in range(1, 7):
        shutil.copytree(first, runs_home() / f"2026112{number}")
    truncate_run(StoredRun(runs_home() / "20261126"), 1)
    navigation.library_changed.emit()
    qtbot.waitUntil(lambda: bool(page.run_rows.findChildren(RunButton)))
    rows = page.run_rows.findChildren(RunButton)
    assert [row.accessibleName() for row in rows] == ["Open run three stages"] * 5
    assert "interrupted" in rows[0].accessibleDescription()
    assert any(word in rows[1].accessibleDescription() for word in ("VALID", "WARN", "INVALID"))
    with qtbot.waitSignal(navigation.open_run_requested) as opened:
        qtbot.mouseClick(rows[1], Qt.MouseButton.LeftButton)
    assert opened.args == [runs_home() / "20261125"]
    compare_buttons = [button for button in page.run_rows.findChildren(QPushButton) if button.text() == "Compare"]
    assert compare_buttons[0].accessibleName() == "Compare run three stages with the previous run"
    with qtbot.waitSignal(navigation.comparison_requested) as compared:
        qtbot.keyClick(compare_buttons[0], Qt.Key.Key_Space)
    assert compared.args == [(runs_home() / "20261124", runs_home() / "20261125")]
    assert "6 comparable runs" in rows[1].accessibleDescription()
    assert unnamed_widgets(page) == []
    assert unreachable_widgets(page) == []


def test_home_page_shows_readings_and_execution_providers_of_this_machine(qtbot: QtBot, page: HomePage) -> None:
    machine = MachineWatch(page)
    page.set_machine(machine)
    page.enter()
    qtbot.waitUntil(
        lambda: machine.state.machine_info is not None and machine.state.readings is not None, timeout=60_000
    )
    machine_text = page.machine_lines.text()
    assert "cpu (ONNX Runtime" in machine_text
    assert "GiB used" in machine_text
    machine.close()


def test_interrupted_run_is_discarded_restored_and_opened_from_its_notice(
    qtbot: QtBot, navigation: Navigation, page: HomePage
) -> None:
    runs_home().mkdir(parents=True)
    interrupted: Path = truncate_run(stored_run(runs_home() / "cut"), 1).directory
    recovery = Recovery(navigation, open_settings(), page)
    page.set_recovery(recovery)
    recovery.refresh()
    qtbot.waitUntil(lambda: bool(recovery.unfinished_runs))
    with qtbot.waitSignal(recovery.discarded):
        qtbot.mouseClick(find_button(page, "Discard"), Qt.MouseButton.LeftButton)
    assert not interrupted.exists()
    qtbot.mouseClick(find_button(page, "Undo"), Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: bool(recovery.unfinished_runs))
    with qtbot.waitSignal(navigation.open_run_requested) as opened:
        qtbot.mouseClick(find_button(page, "Show results so far"), Qt.MouseButton.LeftButton)
    assert opened.args == [interrupted]


def test_narrow_home_page_stacks_its_actions(qtbot: QtBot, page: HomePage) -> None:
    assert page._action_row.direction() == QBoxLayout.Direction.LeftToRight
    page.resize(400, 700)
    assert page._action_row.direction() == QBoxLayout.Direction.TopToBottom


def test_language_model_check_launches_its_command(qtbot: QtBot, navigation: Navigation, page: HomePage) -> None:
    with qtbot.waitSignal(navigation.launch_requested) as launch_request:
        find_button(page, "Check a language model").click()
    (launch,) = launch_request.args
    assert isinstance(launch, Launch)
    assert (launch.arguments, launch.directory.parent) == (("quickstart", "--llm"), runs_home())


def test_missing_llm_extra_is_shown_with_its_install_command(
    qtbot: QtBot, navigation: Navigation, theme: ThemeController, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.extras.find_spec", lambda _: None)
    page = HomePage(navigation, theme)
    qtbot.addWidget(page)
    assert not [widget for widget in page.findChildren(QPushButton) if "language model" in widget.text()]
    assert any('pip install "sizewise[llm]"' in widget.text() for widget in page.findChildren(QLabel))


def test_unreadable_recent_runs_are_reported_and_read_again(
    qtbot: QtBot, navigation: Navigation, page: HomePage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise ImportError("cannot import name 'x' from partially initialized module 'y'")

    stored_run(runs_home() / "20261120")
    with monkeypatch.context() as broken, qtbot.waitSignal(navigation.notice_emitted):
        broken.setattr("app.gui.home.page.read_recent_runs", fail)
        navigation.library_changed.emit()
    assert page._no_runs_label.text() == "The recent runs could not be read. Read them again, or open the Library."
    qtbot.mouseClick(find_button(page, "Read again"), Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: bool(page.run_rows.findChildren(QPushButton)))
    assert page._no_runs_label.isHidden()
    assert find_button(page, "Read again").isHidden()
