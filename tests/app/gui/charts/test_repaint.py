from __future__ import annotations

from functools import partial

from PySide6.QtCore import QTimer
from PySide6.QtWidgets import QVBoxLayout, QWidget
from pytestqt.qtbot import QtBot

from app.gui.charts.repaint import RepaintLimiter


class Counter:
    def __init__(self) -> None:
        self.painted = 0

    def paint(self) -> None:
        self.painted += 1


def test_only_what_is_marked_and_seen_is_painted_and_then_the_timer_rests(qtbot: QtBot) -> None:
    window, counter, other = QWidget(), Counter(), Counter()
    qtbot.addWidget(window)
    shown, idle = QWidget(window), QWidget(window)
    QVBoxLayout(window).addWidget(shown)
    repaint = RepaintLimiter(window)
    repaint.register(shown, counter.paint)
    repaint.register(idle, other.paint)
    repaint.mark_changed(shown)
    assert not repaint.is_running
    with qtbot.waitExposed(window):
        window.show()
    qtbot.waitUntil(lambda: counter.painted == 1)
    qtbot.waitUntil(lambda: not repaint.is_running)
    assert other.painted == 0


def test_many_marks_are_one_painting(qtbot: QtBot) -> None:
    window, counter = QWidget(), Counter()
    qtbot.addWidget(window)
    with qtbot.waitExposed(window):
        window.show()
    repaint = RepaintLimiter(window)
    repaint.register(window, counter.paint)
    for _ in range(1000):
        repaint.mark_changed(window)
    qtbot.waitUntil(lambda: not repaint.is_running)
    assert counter.painted == 1


def test_what_was_marked_while_hidden_is_painted_when_shown(qtbot: QtBot) -> None:
    window, counter = QWidget(), Counter()
    qtbot.addWidget(window)
    with qtbot.waitExposed(window):
        window.show()
    repaint = RepaintLimiter(window)
    repaint.register(window, counter.paint)
    repaint.mark_changed(window)
    window.hide()
    qtbot.waitUntil(lambda: not repaint.is_running)
    assert counter.painted == 0
    window.show()
    qtbot.waitUntil(lambda: counter.painted == 1)
    qtbot.waitUntil(lambda: not repaint.is_running)


def test_a_widget_that_is_gone_is_forgotten(qtbot: QtBot) -> None:
    window, counter = QWidget(), Counter()
    qtbot.addWidget(window)
    with qtbot.waitExposed(window):
        window.show()
    child = QWidget(window)
    child.show()
    repaint = RepaintLimiter(window)
    repaint.register(child, counter.paint)
    repaint.mark_changed(child)
    with qtbot.waitSignal(child.destroyed):
        child.deleteLater()
    qtbot.waitUntil(lambda: not repaint.is_running)
    assert counter.painted == 0


def test_what_takes_long_is_painted_in_frames_of_its_own(qtbot: QtBot) -> None:
    """Each painting takes 10 ms of the clock of this test."""
    window, now, painted = QWidget(), [0.0], []
    qtbot.addWidget(window)
    parts = [QWidget(window) for _ in range(4)]
    with qtbot.waitExposed(window):
        window.show()
    frames: list[int] = []
    repaint = RepaintLimiter(window, clock=lambda: now[0])

    def paint(number: int) -> None:
        now[0] += 0.010
        painted.append(number)
        QTimer.singleShot(0, window, lambda: frames.append(len(painted)))

    for number, part in enumerate(parts):
        repaint.register(part, partial(paint, number))
        repaint.mark_changed(part)
    qtbot.waitUntil(lambda: not repaint.is_running)
    assert painted == [0, 1, 2, 3], "in the order in which they were marked"
    assert frames == [1, 2, 3, 4]
