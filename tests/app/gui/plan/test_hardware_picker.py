from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace
from PySide6.QtCore import Qt
from pytestqt.qtbot import QtBot

from app.gui.plan.hardware_picker import HardwarePicker
from app.gui.plan.page import PlanPage
from tests.app.gui.plan.conftest import answered
from tests.fakes import plan_sources as sources
from tests.fakes.results import full_run


@pytest.fixture
def nowhere(tmp_path: Path) -> Path:
    """A run of an endpoint that does not say what it ran on."""
    target = replace(full_run().result.target, hardware=None)
    return Path(sources.endpoint_run(tmp_path / "nowhere", target=target))


@pytest.fixture
def picker(page: PlanPage, nowhere: Path, qtbot: QtBot) -> HardwarePicker:
    page.presenter.set_simulation_delay(600_000)
    page.open_sources((nowhere,))
    qtbot.waitUntil(lambda: page.stack.currentWidget() is page.hardware_picker)
    qtbot.waitUntil(lambda: page.hardware_picker.model.rowCount() > 0)
    return page.hardware_picker


def test_it_asks_where_a_run_does_not_say_it_or_something_else_is_planned_from(
    page: PlanPage, picker: HardwarePicker, qtbot: QtBot
) -> None:
    assert "nowhere" in picker.source.text()
    assert page.strip.isHidden()
    assert not picker.plan_button.isEnabled()
    picker.filter_field.setText("no such thing")
    qtbot.keyClick(picker.filter_field, Qt.Key.Key_Return)
    assert picker.count_label.text().startswith("0 of ")
    assert not picker.plan_button.isEnabled(), "nothing found is nothing to plan with"
    qtbot.mouseClick(picker.back_button, Qt.MouseButton.LeftButton)
    assert page.stack.currentWidget() is page.empty_state


def test_the_plan_follows_and_says_that_nobody_measured_it(
    page: PlanPage, picker: HardwarePicker, qtbot: QtBot
) -> None:
    qtbot.keyClicks(picker.filter_field, "g6.2xl 8 aws")
    assert picker.count_label.text().startswith("1 of ")
    qtbot.keyClick(picker.filter_field, Qt.Key.Key_Return)
    assert not picker.count.isVisible()
    qtbot.mouseClick(picker.plan_button, Qt.MouseButton.LeftButton)
    answered(page, qtbot)
    command, plan = page.command_line(), page.presenter.state.plan
    assert command is not None
    assert "--set target.hardware.offer=aws/g6.2xlarge" in command
    assert plan is not None
    known = [fleet for fleet in plan.offers if fleet.rejected is None]
    assert known
    assert {fleet.basis for fleet in known} == {"assumed"}
    assert "was declared, not measured" in " ".join(known[0].risk_reasons)
    assert any("The run does not report its hardware." in note for note in plan.notes)


def test_of_a_card_and_of_a_processor_it_asks_how_many(
    page: PlanPage, picker: HardwarePicker, nowhere: Path, qtbot: QtBot
) -> None:
    for text, name, keys in (
        ("L4 24 GPU", "Number of GPUs", ("accelerator=l4", "count=2")),
        ("CPU only", "vCPUs", ("vcpus=2",)),
    ):
        page.open_sources((nowhere,))
        qtbot.waitUntil(lambda: page.stack.currentWidget() is picker and picker.model.rowCount() > 0)
        picker.filter_field.setText(text)
        qtbot.keyClick(picker.filter_field, Qt.Key.Key_Return)
        assert picker.count.isVisible()
        assert picker.count.accessibleName() == name
        picker.count.setValue(2)
        with qtbot.waitSignal(picker.hardware_selected) as reported:
            picker.list_view.activated.emit(picker.list_view.currentIndex())
        assert reported.args == [tuple(f"target.hardware.{key}" for key in keys)]
        answered(page, qtbot)
