from __future__ import annotations

from pathlib import Path

import pytest
from pytestqt.qtbot import QtBot

from app.gui.navigation import Navigation
from app.gui.plan.page import PlanPage
from app.gui.theme import Look
from tests.fakes import plan_sources, planned


@pytest.fixture
def plan_file(tmp_path: Path) -> Path:
    """6 × acme/c2 carry 60/s; acme/c4 costs more."""
    return Path(plan_sources.plan_file(tmp_path / "small.yaml", planned.question()))


@pytest.fixture
def page(qtbot: QtBot, navigation: Navigation, look: Look) -> PlanPage:
    page = PlanPage(navigation, look)
    qtbot.addWidget(page)
    page.resize(1280, 800)
    page.show()
    page.enter()
    return page


@pytest.fixture
def opened(page: PlanPage, plan_file: Path, qtbot: QtBot) -> PlanPage:
    """With the simulated plan of the small file."""
    page.open_sources((plan_file,))
    settled(page, qtbot)
    return page


def settled(page: PlanPage, qtbot: QtBot) -> None:
    presenter = page.content.presenter

    def is_settled() -> bool:
        state = presenter.state
        return state.phase == "failed" or (state.phase == "simulated" and state.is_current)

    qtbot.waitUntil(is_settled, timeout=60_000)
