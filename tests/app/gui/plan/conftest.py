from __future__ import annotations

from pathlib import Path

import pytest
from pytestqt.qtbot import QtBot

from app.gui.navigation import Navigation
from app.gui.plan.page import PlanPage
from app.gui.theme import ThemeController
from tests.fakes import plan_sources, small_plan


@pytest.fixture
def plan_file(tmp_path: Path) -> Path:
    """A plan of 6 × acme/c2 for 60 req/s; acme/c4 costs more."""
    return Path(plan_sources.write_plan_file(tmp_path / "small.yaml", small_plan.planning_inputs()))


@pytest.fixture
def page(qtbot: QtBot, navigation: Navigation, theme: ThemeController) -> PlanPage:
    page = PlanPage(navigation, theme)
    qtbot.addWidget(page)
    page.resize(1280, 800)
    page.show()
    page.enter()
    return page


@pytest.fixture
def small_plan_page(page: PlanPage, plan_file: Path, qtbot: QtBot) -> PlanPage:
    """The page with the estimate of the small plan; its simulation is delayed by 10 min."""
    page.presenter.set_simulation_delay(600_000)
    page.open_sources((plan_file,))
    wait_for_plan(page, qtbot)
    return page


def wait_for_plan(page: PlanPage, qtbot: QtBot) -> None:
    """Wait until the plan of the current inputs is shown, estimated or simulated."""
    state = page.presenter
    qtbot.waitUntil(lambda: state.state.phase == "failed" or state.state.is_current, timeout=60_000)


def wait_for_simulation(page: PlanPage, qtbot: QtBot) -> None:
    presenter = page.presenter
    qtbot.waitUntil(lambda: presenter.state.phase == "simulated" and presenter.state.is_current, timeout=60_000)
