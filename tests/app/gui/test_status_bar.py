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
from tests.fakes.parts import ENVIRONMENT


@pytest.fixture
def queue(owner: QWidget) -> JobQueue:
    return JobQueue(open_settings(), owner)


@pytest.fixture
def machine(owner: QWidget) -> MachineWatch:
    return MachineWatch(owner)


@pytest.fixture
def bar(qtbot: QtBot, navigation: Navigation, queue: JobQueue, machine: MachineWatch) -> StatusBar:
    made = StatusBar(navigation, queue, machine)
    qtbot.addWidget(made)
    made.show()
    qtbot.waitUntil(lambda: "free" in made.disk.text())
    return made


def test_what_is_not_known_yet_is_not_available(bar: StatusBar) -> None:
    texts = [one.text() for one in (bar.engine, bar.machine, bar.clock, bar.validity)]
    assert texts == ["Benchmark: idle", "CPU n/a", "Clock n/a", "Validity: n/a"]


def test_each_part_reports_a_reader_of_screens_what_it_shows(bar: StatusBar) -> None:
    parts = bar.findChildren(QToolButton)
    assert len(parts) == 5
    assert all(one.accessibleName() and one.accessibleDescription() for one in parts)


def test_the_engine_and_what_waits(bar: StatusBar, queue: JobQueue, tmp_path: Path) -> None:
    for name in ("fraud", "chat"):
        queue.add(Launch((), tmp_path / name, name))
    assert bar.engine.text() == "Benchmark: fraud, 1 waiting"


def test_a_long_name_does_not_widen_the_window_and_is_read_in_full(
    qtbot: QtBot, bar: StatusBar, queue: JobQueue, tmp_path: Path
) -> None:
    bar.resize(700, bar.height())
    usual = bar.minimumSizeHint().width()
    queue.add(Launch((), tmp_path / "long", "benchmark of the " + "very " * 6 + "long name"))
    assert bar.minimumSizeHint().width() <= usual
    bar.resize(usual, bar.height())
    qtbot.waitUntil(lambda: bar.engine.elided_text().endswith("…"))
    assert bar.engine.elided_text() != bar.engine.text() == bar.engine.accessibleName()
    assert bar.engine.text() in bar.engine.toolTip()
    bar.resize(4 * usual, bar.height())
    qtbot.waitUntil(lambda: bar.engine.elided_text() == bar.engine.text())


def test_a_low_disk_is_reported_once_until_it_is_low_again(bar: StatusBar, navigation: Navigation) -> None:
    reported: list[Notice] = []
    navigation.notice_emitted.connect(reported.append)
    for free in (LOW_DISK_BYTES - 1, LOW_DISK_BYTES - 2, LOW_DISK_BYTES, LOW_DISK_BYTES - 1):
        bar.show_disk(free)
    assert [notice.severity for notice in reported] == ["warning", "warning"]
    assert bar.disk.text().startswith("▲ Disk ")


def test_the_clock_is_evaluated_as_the_doctor_evaluates_it(bar: StatusBar, machine: MachineWatch) -> None:
    for verdict, hint, text in (("VALID", None, "Clock OK"), ("WARN", "Choose a finer one.", "▲ Coarse clock")):
        check = Check("clock_resolution", 64, 1_000, "ns", verdict, hint)  # type: ignore[arg-type]
        machine.changed.emit(MachineState(machine_info=MachineInfo(ENVIRONMENT, (check,), ())))
        assert bar.clock.text() == text


def test_a_click_goes_to_where_it_is_explained(qtbot: QtBot, bar: StatusBar) -> None:
    bar.show_validity("INVALID", "the generator was saturated", "results")
    assert bar.validity.text() == "✕ Validity: INVALID"
    for part, where in ((bar.engine, "jobs-dock"), (bar.machine, "gpu-dock"), (bar.validity, "results")):
        with qtbot.waitSignal(bar.explanation_requested) as explained:
            qtbot.mouseClick(part, Qt.MouseButton.LeftButton)
        assert explained.args == [where]
