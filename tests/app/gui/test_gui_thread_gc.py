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


def test_reference_cycles_are_collected_in_the_gui_thread(qtbot: QtBot, owner: QWidget) -> None:
    gc.enable()  # enabled by default; window tests disable collection
    gc.collect()
    collector, ended_in = GuiThreadGc(owner), list[str]()
    try:
        Cycle(ended_in)

        def allocate() -> list[list[int]]:
            return [[number] for number in range(100_000)]

        results: list[object] = []
        submit(owner, allocate, results.append, results.append)
        qtbot.waitUntil(lambda: bool(results))
        qtbot.waitUntil(lambda: bool(ended_in))
    finally:
        collector.stop()
    assert ended_in == [threading.main_thread().name]
    assert gc.isenabled(), "the collector restores the state"
    gc.disable()


def test_garbage_is_not_collected_before_a_collection_is_due(owner: QWidget) -> None:
    collector = GuiThreadGc(owner)
    gc.collect()
    assert collector.collect_if_due() is None
    collector.stop()


def test_full_collection_needs_growth_of_the_old_generation(owner: QWidget) -> None:
    def make_due() -> None:
        for _ in range(gc.get_threshold()[2] + 1):
            gc.collect(1)

    collector = GuiThreadGc(owner)
    make_due()
    assert collector.collect_if_due() == 2
    make_due()
    assert collector.collect_if_due() == 1
    old_objects = [[number] for number in range(len(gc.get_objects(2)))]
    assert collector.collect_if_due() == 1, "the objects are in the old generation"
    old_objects.extend([number] for number in range(1_000))
    assert collector.collect_if_due() == 2
    assert old_objects
    collector.stop()
