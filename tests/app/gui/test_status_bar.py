from __future__ import annotations

from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QToolButton, QWidget
from pytestqt.qtbot import QtBot

from app.gui.docks.job_queue import JobQueue
from app.gui.docks.machine_watch import MachineState, MachineWatch
from app.gui.navigation import Launch, Navigation, Notice
from app.gui.settings import open_settings
from app.gui.status_bar import LOW_DISK_BYTES, StatusBar
from app.records.machine import MachineInfo
from app.records.result import Check
from tests.fakes.session_dependencies import ENVIRONMENT


@pytest.fixture
def queue(owner: QWidget) -> JobQueue:
    return JobQueue(open_settings(), owner)


@pytest.fixture
def machine(owner: QWidget) -> MachineWatch:
    return MachineWatch(owner)


@pytest.fixture
def bar(qtbot: QtBot, navigation: Navigation, queue: JobQueue, machine: MachineWatch) -> StatusBar:
    bar = StatusBar(navigation, queue, machine)
    qtbot.addWidget(bar)
    bar.show()
    qtbot.waitUntil(lambda: "free" in bar.disk.text())
    return bar


def test_status_bar_shows_na_before_values_are_read(bar: StatusBar) -> None:
    texts = [button.text() for button in (bar.engine, bar.machine, bar.clock, bar.validity)]
    assert texts == ["Benchmark: idle", "CPU n/a", "Clock n/a", "Validity: n/a"]


def test_status_bar_buttons_have_accessible_names_and_descriptions(bar: StatusBar) -> None:
    buttons = bar.findChildren(QToolButton)
    assert len(buttons) == 5
    assert all(button.accessibleName() and button.accessibleDescription() for button in buttons)


def test_status_bar_shows_the_running_job_and_the_number_of_queued_jobs(
    bar: StatusBar, queue: JobQueue, tmp_path: Path
) -> None:
    for name in ("fraud", "chat"):
        queue.add(Launch((), tmp_path / name, name))
    assert bar.engine.text() == "Benchmark: fraud, 1 waiting"


def test_long_job_name_is_elided_and_in_the_tooltip(
    qtbot: QtBot, bar: StatusBar, queue: JobQueue, tmp_path: Path
) -> None:
    bar.resize(700, bar.height())
    default_width = bar.minimumSizeHint().width()
    queue.add(Launch((), tmp_path / "long", "benchmark of the " + "very " * 6 + "long name"))
    assert bar.minimumSizeHint().width() <= default_width
    bar.resize(default_width, bar.height())
    qtbot.waitUntil(lambda: bar.engine.elided_text().endswith("…"))
    assert bar.engine.elided_text() != bar.engine.text() == bar.engine.accessibleName()
    assert bar.engine.text() in bar.engine.toolTip()
    bar.resize(4 * default_width, bar.height())
    qtbot.waitUntil(lambda: bar.engine.elided_text() == bar.engine.text())


def test_low_disk_space_is_reported_once_until_the_space_recovers(bar: StatusBar, navigation: Navigation) -> None:
    notices: list[Notice] = []
    navigation.notice_emitted.connect(notices.append)
    for free in (LOW_DISK_BYTES - 1, LOW_DISK_BYTES - 2, LOW_DISK_BYTES, LOW_DISK_BYTES - 1):
        bar.show_disk(free)
    assert [notice.severity for notice in notices] == ["warning", "warning"]
    assert bar.disk.text().startswith("▲ Disk ")


def test_clock_status_follows_the_clock_resolution_check(bar: StatusBar, machine: MachineWatch) -> None:
    for verdict, hint, text in (("VALID", None, "Clock OK"), ("WARN", "Choose a finer one.", "▲ Coarse clock")):
        check = Check("clock_resolution", 64, 1_000, "ns", verdict, hint)  # type: ignore[arg-type]
        machine.changed.emit(MachineState(machine_info=MachineInfo(ENVIRONMENT, (check,), ())))
        assert bar.clock.text() == text


def test_click_on_a_status_bar_item_requests_its_explanation(qtbot: QtBot, bar: StatusBar) -> None:
    bar.show_validity("INVALID", "the generator was saturated", "results")
    assert bar.validity.text() == "✕ Validity: INVALID"
    for button, target in ((bar.engine, "jobs-dock"), (bar.machine, "gpu-dock"), (bar.validity, "results")):
        with qtbot.waitSignal(bar.explanation_requested) as explained:
            qtbot.mouseClick(button, Qt.MouseButton.LeftButton)
        assert explained.args == [target]
