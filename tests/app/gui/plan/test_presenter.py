from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace
from pytestqt.qtbot import QtBot

from app.gui.plan.presenter import PlanPresenter, create_merge_id
from app.gui.plan.state import NO_EDITS, Change, PlanState
from app.wiring.planning import PlanRequest


@pytest.fixture
def presenter(qtbot: QtBot, plan_file: Path) -> Iterator[PlanPresenter]:
    presenter = PlanPresenter(delay_ms=1)
    presenter.open(PlanRequest((str(plan_file),)))
    qtbot.waitUntil(lambda: presenter.state.phase == "simulated", timeout=60_000)
    yield presenter
    presenter.deleteLater()


def wait_until_simulated(presenter: PlanPresenter, qtbot: QtBot) -> list[PlanState]:
    """Wait for the simulated plan of the current inputs and return the states emitted until then."""
    states: list[PlanState] = []
    presenter.changed.connect(states.append)
    qtbot.waitUntil(lambda: presenter.state.phase == "simulated" and presenter.state.is_current, timeout=60_000)
    presenter.changed.disconnect(states.append)
    return states


def get_recommendation(presenter: PlanPresenter) -> tuple[str, int | None]:
    plan = presenter.state.plan
    assert plan is not None
    assert plan.recommendation is not None
    return plan.recommendation.fleet.offer, plan.recommendation.fleet.instances


def test_plan_estimate_is_emitted_before_the_simulated_plan(presenter: PlanPresenter, qtbot: QtBot) -> None:
    presenter.apply_change(Change("peak", (("traffic.peak", "120/s"),)))
    assert not presenter.state.is_current
    states = wait_until_simulated(presenter, qtbot)
    assert [state.phase for state in states if state.is_current] == ["preview", "simulated"]
    assert get_recommendation(presenter) == ("acme/c2@here", 10)


def test_undo_redo_and_reset_restore_earlier_plans(presenter: PlanPresenter, qtbot: QtBot) -> None:
    first_plan = presenter.state.plan
    presenter.apply_change(Change("peak", (("traffic.peak", "120/s"),)))
    presenter.apply_change(Change("price", (("price.acme/c4@here", "0.1"),)))
    wait_until_simulated(presenter, qtbot)
    assert get_recommendation(presenter)[0] == "acme/c4@here"
    presenter.undo_stack.undo()
    wait_until_simulated(presenter, qtbot)
    assert get_recommendation(presenter) == ("acme/c2@here", 10)
    presenter.undo_stack.redo()
    presenter.reset()
    wait_until_simulated(presenter, qtbot)
    assert presenter.state.plan == first_plan
    assert presenter.state.edits == NO_EDITS
    presenter.undo_stack.undo()
    assert presenter.state.edits.value("traffic.peak") == "120/s"
    wait_until_simulated(presenter, qtbot)


def test_plan_changes_with_the_same_merge_id_are_undone_together(presenter: PlanPresenter, qtbot: QtBot) -> None:
    merge_id = create_merge_id()
    for peak in (70, 80, 90):
        presenter.apply_change(Change(f"peak {peak}", (("traffic.peak", f"{peak}/s"),), merge_id=merge_id))
    presenter.apply_change(Change("peak 95", (("traffic.peak", "95/s"),), merge_id=create_merge_id()))
    assert presenter.undo_stack.count() == 2
    presenter.undo_stack.undo()
    assert presenter.state.edits.value("traffic.peak") == "90/s"
    presenter.undo_stack.undo()
    assert presenter.state.edits == NO_EDITS
    wait_until_simulated(presenter, qtbot)


def test_only_the_last_of_many_plan_edits_is_calculated(presenter: PlanPresenter, qtbot: QtBot) -> None:
    for peak in range(61, 100):
        presenter.apply_change(Change("peak", (("traffic.peak", f"{peak}/s"),)))
    states = wait_until_simulated(presenter, qtbot)
    planned_peaks = [state.plan.traffic.peak_per_s for state in states if state.is_current and state.plan is not None]
    assert set(planned_peaks) == {99.0}


def test_invalid_plan_edit_is_an_error_and_the_plan_is_unchanged(presenter: PlanPresenter, qtbot: QtBot) -> None:
    first_plan = presenter.state.plan
    presenter.apply_change(Change("provider", (("plan.providers", "[nobody]"),)))
    assert "the provider 'nobody' is unknown" in str(presenter.state.error)
    assert presenter.state.plan is first_plan
    assert not presenter.state.is_current
    presenter.undo_stack.undo()
    wait_until_simulated(presenter, qtbot)
    assert presenter.state.error is None


def test_infeasible_plan_has_a_relaxation_of_its_budget(presenter: PlanPresenter, qtbot: QtBot) -> None:
    presenter.apply_change(Change("budget", (("plan.budget", "1 USD/month"),)))
    wait_until_simulated(presenter, qtbot)
    relaxations = presenter.state.relaxations
    assert relaxations is not None
    assert relaxations[0].changes == ("plan.budget=4380 USD/month",)


def test_plan_source_without_runs_fails_to_load(qtbot: QtBot, tmp_path: Path) -> None:
    presenter = PlanPresenter()
    presenter.open(PlanRequest((str(tmp_path / "gone"),)))
    assert presenter.state.phase == "loading"
    qtbot.waitUntil(lambda: presenter.state.phase == "failed")
    assert "no run matches" in str(presenter.state.error)
    presenter.deleteLater()


def test_requested_offer_with_an_estimate_is_simulated_in_a_refined_plan(
    presenter: PlanPresenter, qtbot: QtBot
) -> None:
    plan, offer = presenter.state.plan, "acme/c4@here"
    assert plan is not None
    (simulated,) = (fleet for fleet in plan.offers if fleet.offer == offer)
    estimated = replace(simulated, sizing_method="formula", instances=99)
    estimated_plan = replace(plan, offers=tuple(estimated if fleet.offer == offer else fleet for fleet in plan.offers))
    presenter.state = replace(presenter.state, plan=estimated_plan)
    presenter.simulate_offers((offer,))
    assert presenter.state.simulating_offer == offer
    presenter.simulate_offers(())
    assert presenter.state.simulating_offer is None
    presenter.simulate_offers(("acme/c2@here", offer))
    qtbot.waitUntil(lambda: presenter.state.refined_plan is not None)
    refined = presenter.state.refined_plan
    assert refined is not None
    assert refined.offers[0] is plan.offers[0]
    assert (refined.offers[1].sizing_method, refined.offers[1].instances) == ("simulated", simulated.instances)
    assert presenter.state.plan is estimated_plan
    assert presenter.state.simulating_offer is None
