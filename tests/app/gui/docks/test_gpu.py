from __future__ import annotations

import pytest
from PySide6.QtWidgets import QWidget
from pytestqt.qtbot import QtBot

from app.gui.docks.gpu import GpuDock
from app.gui.docks.machine_watch import MachineState, MachineWatch
from app.records.machine import GpuState, MachineNow

HOST = MachineNow(cpu_percent=50.0, cores=2, memory_gib=1.0, memory_total_gib=4.0)


@pytest.fixture
def watch(owner: QWidget) -> MachineWatch:
    return MachineWatch(owner)


@pytest.fixture
def dock(qtbot: QtBot, watch: MachineWatch) -> GpuDock:
    dock = GpuDock(watch)
    qtbot.addWidget(dock)
    dock.show()
    return dock


def test_gpu_dock_without_gpu_shows_cpu_memory_and_the_reason(dock: GpuDock, watch: MachineWatch) -> None:
    watch.changed.emit(MachineState(readings=HOST))
    assert (dock.cpu.text(), dock.memory.text()) == ("50\u202f%", "1.00 of 4.00\u202fGiB")
    assert "No NVIDIA driver" in dock.no_gpu_label.text()
    assert not dock.gpu_cards
    watch.changed.emit(MachineState())
    assert (dock.cpu.text(), dock.memory.text()) == ("n/a", "n/a")


def test_gpu_card_of_a_removed_gpu_is_hidden(dock: GpuDock, watch: MachineWatch) -> None:
    gpu = GpuState(source="gpu-amd0", name="<i>MI300X</i>")
    watch.changed.emit(
        MachineState(readings=MachineNow(cpu_percent=1.0, cores=2, memory_gib=1.0, memory_total_gib=2.0, gpus=(gpu,)))
    )
    card = dock.gpu_cards["gpu-amd0"]
    assert card.isVisible()
    assert (card.title.text(), card.name.text(), card.throttling.text()) == (
        "AMD GPU 0",
        "<i>MI300X</i>",
        "Throttling: n/a",
    )
    assert not dock.no_gpu_label.isVisible()
    watch.changed.emit(MachineState(readings=HOST))
    assert not card.isVisible()


def test_gpu_driver_problem_is_shown(dock: GpuDock, watch: MachineWatch) -> None:
    now = MachineNow(
        cpu_percent=1.0, cores=2, memory_gib=1.0, memory_total_gib=2.0, driver="570", gpu_note="GPU is lost"
    )
    watch.changed.emit(MachineState(readings=now))
    assert dock.no_gpu_label.text() == "GPU driver: GPU is lost"


def test_machine_readings_are_labeled_while_they_come_from_a_run(dock: GpuDock, watch: MachineWatch) -> None:
    watch.changed.emit(MachineState(readings=HOST, is_from_run=True))
    assert dock.source_label.isVisible()
    watch.changed.emit(MachineState(readings=HOST))
    assert not dock.source_label.isVisible()
