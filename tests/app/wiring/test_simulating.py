from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from app.errors import UsageError
from app.records.scaling import Fixed
from app.wiring.plan_files import UNCHECKED_NOTE, PlanFile, write_plan
from app.wiring.simulating import DayRequest, load_or_compute_plan, simulate_plan_day
from tests.fakes import small_plan as fakes
from tests.fakes.offers import TODAY

QUESTION = fakes.slow_planning_inputs()


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("plan") / "plan.yaml"
    write_plan(path, PlanFile("sizewise", fakes.cached_plan(QUESTION), QUESTION))
    return str(path)


def test_plan_file_is_simulated_as_planned(plan: str) -> None:
    assert load_or_compute_plan(plan, TODAY) == PlanFile("sizewise", fakes.cached_plan(QUESTION), QUESTION)
    day = simulate_plan_day(DayRequest(plan), TODAY)
    assert (day.offer, day.date) == ("acme/c2@here", "2026-08-01")
    assert day.autoscaler == Fixed(2 * day.instances)


def test_simulated_day_of_a_plan_without_a_digest_has_a_note(plan: str, tmp_path: Path) -> None:
    for path in Path(plan).parent.iterdir():
        shutil.copy(path, tmp_path)
    lines = Path(plan).read_text("utf-8").splitlines(keepends=True)
    (tmp_path / "plan.yaml").write_text("".join(line for line in lines if not line.startswith("digest:")), "utf-8")
    assert simulate_plan_day(DayRequest(str(tmp_path / "plan.yaml")), TODAY).notes[0] == UNCHECKED_NOTE
    assert UNCHECKED_NOTE not in simulate_plan_day(DayRequest(plan), TODAY).notes


def test_requested_day_offer_and_instances_are_simulated(plan: str) -> None:
    request = DayRequest(plan, "2026-12-24", "none", ("timeout=2s",), instances=3, offer="acme/c4@here", seed=5)
    day = simulate_plan_day(request, TODAY)
    assert (day.offer, day.date, day.instances, day.seed) == ("acme/c4@here", "2026-12-24", 3, 5)
    assert day.autoscaler == Fixed(12)
    assert "times out after waiting 2 s" in "\n".join(day.notes)


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (DayRequest("{}", "soon"), "--day soon is not a valid date"),
        (DayRequest("{}", "2026-07-31"), "before the day of the plan, 2026-08-01"),
        (DayRequest("{}", "2036-07-31"), "more than five years after the day of the plan"),
        (DayRequest("{}", offer="acme/c9@here"), "the plan has no offer"),
        (DayRequest("{}", overrides=("router=near",)), "router must be"),
        (DayRequest("{}.yml"), "yml does not exist"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_invalid_simulation_request_is_rejected_before_the_simulation(
    plan: str, request_: DayRequest, message: str
) -> None:
    day_request = DayRequest(
        request_.source.format(plan), request_.day, request_.autoscaler, request_.overrides, offer=request_.offer
    )
    with pytest.raises(UsageError, match=message):
        simulate_plan_day(day_request, TODAY)
