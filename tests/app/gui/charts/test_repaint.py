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


def test_visible_changed_widgets_are_repainted_and_the_timer_stops(qtbot: QtBot) -> None:
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


def test_many_changes_of_a_widget_cause_one_repaint(qtbot: QtBot) -> None:
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


def test_widget_changed_while_hidden_is_repainted_when_shown(qtbot: QtBot) -> None:
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


def test_destroyed_widget_is_not_repainted(qtbot: QtBot) -> None:
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


def test_slow_repaints_are_split_into_one_frame_each(qtbot: QtBot) -> None:
    """Each repaint advances the clock of the test by 10 ms."""
    window, now, painted = QWidget(), [0.0], []
    qtbot.addWidget(window)
    widgets = [QWidget(window) for _ in range(4)]
    with qtbot.waitExposed(window):
        window.show()
    frames: list[int] = []
    repaint = RepaintLimiter(window, clock=lambda: now[0])

    def paint(number: int) -> None:
        now[0] += 0.010
        painted.append(number)
        QTimer.singleShot(0, window, lambda: frames.append(len(painted)))

    for number, widget in enumerate(widgets):
        repaint.register(widget, partial(paint, number))
        repaint.mark_changed(widget)
    qtbot.waitUntil(lambda: not repaint.is_running)
    assert painted == [0, 1, 2, 3], "in the order in which they were marked"
    assert frames == [1, 2, 3, 4]
