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
from tests.fakes.stored_runs import cut_short, stored_run
from tests.fakes.widget_walk import unnamed, unreachable


@pytest.fixture
def page(qtbot: QtBot, navigation: Navigation, look: ThemeController) -> HomePage:
    made = HomePage(navigation, look)
    qtbot.addWidget(made)
    made.resize(1000, 700)
    with qtbot.waitExposed(made):
        made.show()
    return made


def named(page: HomePage, name: str) -> QPushButton:
    buttons = page.findChildren(QPushButton)
    (found,) = (one for one in buttons if name in (one.accessibleName(), one.text().replace("&", "")))
    return found


def test_enter_and_f5_start_the_quick_check(qtbot: QtBot, navigation: Navigation, page: HomePage) -> None:
    page.enter()
    for press in (lambda: qtbot.keyClick(page, Qt.Key.Key_Return), page.start, page.quick_check_button.click):
        with qtbot.waitSignal(navigation.launch_requested) as wanted:
            press()
        (launch,) = wanted.args
        assert isinstance(launch, Launch)
        assert launch.arguments == ("quickstart", "--seconds", "2", "--no-retry")
    assert page.command_line() == "sizewise quickstart --seconds 2 --no-retry"


def test_enter_on_another_button_presses_that_one(qtbot: QtBot, navigation: Navigation, page: HomePage) -> None:
    size = named(page, "Size my hardware")
    size.setFocus()
    with qtbot.assertNotEmitted(navigation.launch_requested), qtbot.waitSignal(navigation.page_requested) as wanted:
        qtbot.keyClick(size, Qt.Key.Key_Return)
    assert wanted.args == ["plan"]


def test_each_large_action_leads_to_its_page(qtbot: QtBot, navigation: Navigation, page: HomePage) -> None:
    for name, kind in (("Benchmark a model", "local"), ("Load-test an endpoint", "endpoint")):
        reported: list[str] = []
        for signal in (navigation.page_requested, navigation.new_profile_requested):
            signal.connect(reported.append)
        qtbot.mouseClick(named(page, name), Qt.MouseButton.LeftButton)
        assert reported == ["run", kind]


def test_the_first_time_there_is_no_run_and_the_model_is_selected(qtbot: QtBot, page: HomePage) -> None:
    page.enter()
    qtbot.waitUntil(lambda: "There are no runs yet" in page._no_runs_label.text())
    assert "already selected" in page._no_runs_label.text()


def test_the_last_five_runs_open_with_their_badges(qtbot: QtBot, navigation: Navigation, page: HomePage) -> None:
    runs_home().mkdir(parents=True)
    first = stored_run(runs_home() / "20261120").directory
    for number in range(1, 7):
        shutil.copytree(first, runs_home() / f"2026112{number}")
    cut_short(StoredRun(runs_home() / "20261126"), 1)
    navigation.library_changed.emit()
    qtbot.waitUntil(lambda: bool(page.run_rows.findChildren(RunButton)))
    rows = page.run_rows.findChildren(RunButton)
    assert [row.accessibleName() for row in rows] == ["Open run three stages"] * 5
    assert "interrupted" in rows[0].accessibleDescription()
    assert any(word in rows[1].accessibleDescription() for word in ("VALID", "WARN", "INVALID"))
    with qtbot.waitSignal(navigation.open_run_requested) as opened:
        qtbot.mouseClick(rows[1], Qt.MouseButton.LeftButton)
    assert opened.args == [runs_home() / "20261125"]
    compare = [one for one in page.run_rows.findChildren(QPushButton) if one.text() == "Compare"]
    assert compare[0].accessibleName() == "Compare run three stages with the previous run"
    with qtbot.waitSignal(navigation.comparison_requested) as compared:
        qtbot.keyClick(compare[0], Qt.Key.Key_Space)
    assert compared.args == [(runs_home() / "20261124", runs_home() / "20261125")]
    assert "6 comparable runs" in rows[1].accessibleDescription()
    assert unnamed(page) == []
    assert unreachable(page) == []


def test_this_machine_is_shown_once_a_second_and_its_providers_once_tried(qtbot: QtBot, page: HomePage) -> None:
    machine = MachineWatch(page)
    page.set_machine(machine)
    page.enter()
    qtbot.waitUntil(
        lambda: machine.state.machine_info is not None and machine.state.readings is not None, timeout=60_000
    )
    reported = page.machine_lines.text()
    assert "cpu (ONNX Runtime" in reported
    assert "GiB used" in reported
    machine.close()


def test_a_run_cut_short_is_offered_above_all_else(qtbot: QtBot, navigation: Navigation, page: HomePage) -> None:
    runs_home().mkdir(parents=True)
    cut: Path = cut_short(stored_run(runs_home() / "cut"), 1).directory
    recovery = Recovery(navigation, open_settings(), page)
    page.set_recovery(recovery)
    recovery.refresh()
    qtbot.waitUntil(lambda: bool(recovery.unfinished_runs))
    with qtbot.waitSignal(recovery.discarded):
        qtbot.mouseClick(named(page, "Discard"), Qt.MouseButton.LeftButton)
    assert not cut.exists()
    qtbot.mouseClick(named(page, "Undo"), Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: bool(recovery.unfinished_runs))
    with qtbot.waitSignal(navigation.open_run_requested) as opened:
        qtbot.mouseClick(named(page, "Show results so far"), Qt.MouseButton.LeftButton)
    assert opened.args == [cut]


def test_a_narrow_page_stands_one_above_the_other(qtbot: QtBot, page: HomePage) -> None:
    assert page._action_row.direction() == QBoxLayout.Direction.LeftToRight
    page.resize(400, 700)
    assert page._action_row.direction() == QBoxLayout.Direction.TopToBottom


def test_the_check_of_a_language_model_starts_the_same_command(
    qtbot: QtBot, navigation: Navigation, page: HomePage
) -> None:
    with qtbot.waitSignal(navigation.launch_requested) as wanted:
        named(page, "Check a language model").click()
    (launch,) = wanted.args
    assert isinstance(launch, Launch)
    assert (launch.arguments, launch.directory.parent) == (("quickstart", "--llm"), runs_home())


def test_without_the_extra_the_card_says_how_to_install_it(
    qtbot: QtBot, navigation: Navigation, look: ThemeController, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.extras.find_spec", lambda _: None)
    page = HomePage(navigation, look)
    qtbot.addWidget(page)
    assert not [one for one in page.findChildren(QPushButton) if "language model" in one.text()]
    assert any('pip install "sizewise[llm]"' in one.text() for one in page.findChildren(QLabel))


def test_recent_runs_that_cannot_be_read_are_said_to_be_so_and_read_again(
    qtbot: QtBot, navigation: Navigation, page: HomePage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise ImportError("cannot import name 'x' from partially initialized module 'y'")

    stored_run(runs_home() / "20261120")
    with monkeypatch.context() as broken, qtbot.waitSignal(navigation.notice_emitted):
        broken.setattr("app.gui.home.page.read_recent_runs", fail)
        navigation.library_changed.emit()
    assert page._no_runs_label.text() == "The recent runs could not be read. Read them again, or open the Library."
    qtbot.mouseClick(named(page, "Read again"), Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: bool(page.run_rows.findChildren(QPushButton)))
    assert page._no_runs_label.isHidden()
    assert named(page, "Read again").isHidden()
