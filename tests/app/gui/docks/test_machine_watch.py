from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest
from PySide6.QtWidgets import QWidget
from pytestqt.qtbot import QtBot

from app.gui.docks.machine_watch import MachineWatch
from app.records.telemetry import TELEMETRY_SCHEMA
from app.storage.run_directory import RunWriter
from tests.fakes.session_dependencies import ENVIRONMENT

DOCK_PROGRAM = """
import json, sys
from PySide6.QtCore import QThreadPool
from PySide6.QtWidgets import QApplication
application = QApplication([])
from app.gui.docks.gpu import GpuDock
from app.gui.docks.job_queue import JobQueue
from app.gui.docks.machine_watch import MachineWatch
from app.gui.navigation import Launch
from app.gui.settings import open_settings
from app.gui.docks.job_queue import JobQueue
from app.gui.navigation import Navigation
from app.gui.settings import open_settings
from app.gui.status_bar import StatusBar
watch = MachineWatch()
dock = GpuDock(watch)
bar = StatusBar(Navigation(), JobQueue(open_settings()), watch)
dock.show()
watch.changed.connect(lambda state: state.readings is not None and application.quit())
application.exec()
watch.close()
QThreadPool.globalInstance().waitForDone()
cards = {source: {name: getattr(card, name).text() for name in sys.argv[1:]} for source, card in dock.gpu_cards.items()}
no_gpu = dock.no_gpu_label.text()
print(json.dumps({"cards": cards, "bar": bar.machine.text(), "no_gpu": no_gpu, "cpu": dock.cpu.text()}))
"""


@pytest.fixture
def widget(qtbot: QtBot) -> QWidget:
    widget = QWidget()
    qtbot.addWidget(widget)
    return widget


@pytest.fixture
def watch(qtbot: QtBot, widget: QWidget) -> MachineWatch:
    watch = MachineWatch(widget)
    watch.add_viewer(widget)
    return watch


def test_machine_is_read_only_while_a_viewer_is_visible(qtbot: QtBot, watch: MachineWatch, widget: QWidget) -> None:
    with qtbot.assertNotEmitted(watch.changed, wait=1_300):
        pass
    with qtbot.waitSignal(watch.changed):
        widget.show()
    assert watch.state.readings is not None
    assert watch.state.readings.memory_gib is not None
    watch.close()


def test_telemetry_of_a_watched_run_replaces_readings_of_the_machine(
    qtbot: QtBot, watch: MachineWatch, widget: QWidget, tmp_path: Path
) -> None:
    with RunWriter(tmp_path / "run") as store:
        store.write_environment(ENVIRONMENT)
        for percent in (11.0, 77.0):
            columns = [[1, 1], ["host", "host"], ["host_cpu_percent", "host_memory_gib"], [percent, 3.0]]
            arrays = [pa.array(column, field.type) for column, field in zip(columns, TELEMETRY_SCHEMA, strict=True)]
            store.append_telemetry(pa.RecordBatch.from_arrays(arrays, schema=TELEMETRY_SCHEMA))
        watch.follow_run(tmp_path / "run")
        widget.show()
        qtbot.waitUntil(lambda: watch.state.readings is not None)
    now = watch.state.readings
    assert now is not None
    assert (now.cpu_percent, now.memory_gib, now.memory_total_gib) == (77.0, 3.0, ENVIRONMENT.memory_gib)
    assert watch.state.is_from_run
    assert watch._machine_reader is None, "the machine itself is not read during a run"
    watch.check()
    assert not watch._is_checking, "and is not inspected"
    watch.follow_run(None)
    assert not watch.state.is_from_run
    watch.close()


def test_machine_is_inspected_once(qtbot: QtBot, watch: MachineWatch) -> None:
    with qtbot.waitSignal(watch.changed, timeout=60_000):
        watch.check()
    machine_info = watch.state.machine_info
    assert machine_info is not None
    assert "cpu" in machine_info.environment.providers
    with qtbot.assertNotEmitted(watch.changed):
        watch.check()
    watch.close()


@pytest.mark.skipif(sys.platform != "linux", reason="simulated NVML needs LD_LIBRARY_PATH")
def test_each_gpu_has_a_card_and_missing_values_are_na(simulated_nvml: Path) -> None:
    settings = {
        "NVML_STAND_IN_GPUS": "2",
        "NVML_STAND_IN_VALUES": "throttle_reasons=4",
        "NVML_STAND_IN_FAULTS": "nvmlDeviceGetTemperatureV=NOT_SUPPORTED;nvmlDeviceGetTemperature=NOT_SUPPORTED",
        "LD_LIBRARY_PATH": str(simulated_nvml),
    }
    names = ("title", "utilization", "memory", "power", "temperature", "clock", "throttling")
    command = [sys.executable, "-c", DOCK_PROGRAM, *names]
    process = subprocess.run(
        command, env=os.environ | settings, capture_output=True, text=True, timeout=60, check=False
    )
    assert process.returncode == 0, process.stderr
    output = json.loads(process.stdout)
    assert output["cards"].keys() == {"gpu0", "gpu1"}
    assert output["cards"]["gpu1"] == {
        "title": "GPU 1",
        "utilization": "42\u202f%",
        "memory": "2.00 of 80.0\u202fGiB",
        "power": "250 of 700\u202fW",
        "temperature": "n/a",
        "clock": "1,980 of 1,980\u202fMHz",
        "throttling": "▲ Throttled: power cap",
    }
    assert output["bar"] == "▲ GPU 0 n/a, 42\u202f% (and 1 more)"
