from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace
from PySide6.QtCore import Qt
from pytestqt.qtbot import QtBot

from app.gui.plan.hardware_picker import HardwarePicker
from app.gui.plan.page import PlanPage
from tests.app.gui.plan.conftest import wait_for_plan
from tests.fakes import plan_sources as sources
from tests.fakes.results import full_run


@pytest.fixture
def run_without_hardware(tmp_path: Path) -> Path:
    """A run of an endpoint without hardware in its result."""
    target = replace(full_run().result.target, hardware=None)
    return Path(sources.endpoint_run(tmp_path / "without-hardware", target=target))


@pytest.fixture
def picker(page: PlanPage, run_without_hardware: Path, qtbot: QtBot) -> HardwarePicker:
    page.presenter.set_simulation_delay(600_000)
    page.open_sources((run_without_hardware,))
    qtbot.waitUntil(lambda: page.stack.currentWidget() is page.hardware_picker)
    qtbot.waitUntil(lambda: page.hardware_picker.model.rowCount() > 0)
    return page.hardware_picker


def test_hardware_picker_opens_for_a_run_without_hardware_and_needs_a_selection(
    page: PlanPage, picker: HardwarePicker, qtbot: QtBot
) -> None:
    assert "without-hardware" in picker.source.text()
    assert page.strip.isHidden()
    assert not picker.plan_button.isEnabled()
    picker.filter_field.setText("no such thing")
    qtbot.keyClick(picker.filter_field, Qt.Key.Key_Return)
    assert picker.count_label.text().startswith("0 of ")
    assert not picker.plan_button.isEnabled(), "an empty list has no selection"
    qtbot.mouseClick(picker.back_button, Qt.MouseButton.LeftButton)
    assert page.stack.currentWidget() is page.empty_state


def test_plan_with_picked_hardware_is_based_on_an_assumption(
    page: PlanPage, picker: HardwarePicker, qtbot: QtBot
) -> None:
    qtbot.keyClicks(picker.filter_field, "g6.2xl 8 aws")
    assert picker.count_label.text().startswith("1 of ")
    qtbot.keyClick(picker.filter_field, Qt.Key.Key_Return)
    assert not picker.count.isVisible()
    qtbot.mouseClick(picker.plan_button, Qt.MouseButton.LeftButton)
    wait_for_plan(page, qtbot)
    command, plan = page.command_line(), page.presenter.state.plan
    assert command is not None
    assert "--set target.hardware.offer=aws/g6.2xlarge" in command
    assert plan is not None
    accepted = [fleet for fleet in plan.offers if fleet.rejected is None]
    assert accepted
    assert {fleet.basis for fleet in accepted} == {"assumed"}
    assert "was declared, not measured" in " ".join(accepted[0].risk_reasons)
    assert any("The run does not report its hardware." in note for note in plan.notes)


def test_hardware_picker_has_a_count_for_gpus_and_vcpus(
    page: PlanPage, picker: HardwarePicker, run_without_hardware: Path, qtbot: QtBot
) -> None:
    for text, name, keys in (
        ("L4 24 GPU", "Number of GPUs", ("accelerator=l4", "count=2")),
        ("CPU only", "vCPUs", ("vcpus=2",)),
    ):
        page.open_sources((run_without_hardware,))
        qtbot.waitUntil(lambda: page.stack.currentWidget() is picker and picker.model.rowCount() > 0)
        picker.filter_field.setText(text)
        qtbot.keyClick(picker.filter_field, Qt.Key.Key_Return)
        assert picker.count.isVisible()
        assert picker.count.accessibleName() == name
        picker.count.setValue(2)
        with qtbot.waitSignal(picker.hardware_selected) as selection:
            picker.list_view.activated.emit(picker.list_view.currentIndex())
        assert selection.args == [tuple(f"target.hardware.{key}" for key in keys)]
        wait_for_plan(page, qtbot)
