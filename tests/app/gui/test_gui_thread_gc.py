from __future__ import annotations

import gc
import threading
import weakref

from PySide6.QtWidgets import QWidget
from pytestqt.qtbot import QtBot

from app.gui.background import submit
from app.gui.gui_thread_gc import GuiThreadGc


class Cycle:
    def __init__(self, ended_in: list[str]) -> None:
        self.itself = self
        weakref.finalize(self, lambda: ended_in.append(threading.current_thread().name))


def test_what_is_left_in_cycles_ends_in_the_windows_thread(qtbot: QtBot, owner: QWidget) -> None:
    gc.enable()  # as the program finds it; tests of the window keep it off
    gc.collect()
    collecting, ended_in = GuiThreadGc(owner), list[str]()
    try:
        Cycle(ended_in)

        def allocate() -> list[list[int]]:
            return [[number] for number in range(100_000)]

        done: list[object] = []
        submit(owner, allocate, done.append, done.append)
        qtbot.waitUntil(lambda: bool(done))
        qtbot.waitUntil(lambda: bool(ended_in))
    finally:
        collecting.stop()
    assert ended_in == [threading.main_thread().name]
    assert gc.isenabled(), "it is as it was found"
    gc.disable()


def test_nothing_is_collected_before_it_is_due(owner: QWidget) -> None:
    collecting = GuiThreadGc(owner)
    gc.collect()
    assert collecting.collect_if_due() is None
    collecting.stop()


def test_all_is_looked_through_only_once_it_has_grown(owner: QWidget) -> None:
    def make_due() -> None:
        for _ in range(gc.get_threshold()[2] + 1):
            gc.collect(1)

    collecting = GuiThreadGc(owner)
    make_due()
    assert collecting.collect_if_due() == 2
    make_due()
    assert collecting.collect_if_due() == 1
    many = [[number] for number in range(len(gc.get_objects(2)))]
    assert collecting.collect_if_due() == 1, "now they are old"
    many.extend([number] for number in range(1_000))
    assert collecting.collect_if_due() == 2
    assert many
    collecting.stop()
