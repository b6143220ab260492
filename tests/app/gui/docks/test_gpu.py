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
    made = GpuDock(watch)
    qtbot.addWidget(made)
    made.show()
    return made


def test_without_a_gpu_there_are_the_hosts_bars_and_the_reason(dock: GpuDock, watch: MachineWatch) -> None:
    watch.changed.emit(MachineState(readings=HOST))
    assert (dock.cpu.text(), dock.memory.text()) == ("50\u202f%", "1.00 of 4.00\u202fGiB")
    assert "No NVIDIA driver" in dock.no_gpu_label.text()
    assert not dock.gpu_cards
    watch.changed.emit(MachineState())
    assert (dock.cpu.text(), dock.memory.text()) == ("n/a", "n/a")


def test_a_card_that_went_is_shown_no_more(dock: GpuDock, watch: MachineWatch) -> None:
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


def test_a_driver_in_trouble_is_reported_of(dock: GpuDock, watch: MachineWatch) -> None:
    now = MachineNow(
        cpu_percent=1.0, cores=2, memory_gib=1.0, memory_total_gib=2.0, driver="570", gpu_note="GPU is lost"
    )
    watch.changed.emit(MachineState(readings=now))
    assert dock.no_gpu_label.text() == "GPU driver: GPU is lost"


def test_where_the_readings_come_from_is_said_while_a_run_goes_on(dock: GpuDock, watch: MachineWatch) -> None:
    watch.changed.emit(MachineState(readings=HOST, is_from_run=True))
    assert dock.source_label.isVisible()
    watch.changed.emit(MachineState(readings=HOST))
    assert not dock.source_label.isVisible()
