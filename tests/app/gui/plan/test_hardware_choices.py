from __future__ import annotations

from pathlib import Path

import pytest

from app.gui.plan.hardware_choices import HardwareChoice, list_hardware_choices, replace_hardware
from app.wiring.planning import PlanRequest
from tests.fakes import plan_sources as sources
from tests.fakes.offers import TODAY


def test_the_catalogues_cards_and_instances_are_there_each_once() -> None:
    found = list_hardware_choices(PlanRequest(()), TODAY)
    assert found[0].kind == "cpu"
    assert len({(one.kind, one.name) for one in found}) == len(found) > 200
    words = {(one.kind, one.name): one.label for one in found}
    assert words["card", "l4"].endswith("L4, 24 GiB – GPU")
    assert words["offer", "aws/g6.2xlarge"] == "aws/g6.2xlarge – 1 × NVIDIA L4, 8 vCPUs"


def test_so_are_the_offers_of_the_requests_own_price_list(tmp_path: Path) -> None:
    own = Path(sources.written(tmp_path / "own.yaml", sources.OFFERS))
    names = {one.name for one in list_hardware_choices(PlanRequest((), offers=(own,)), TODAY)}
    assert {"acme/c4", "own/rack", "aws/g6.2xlarge"} <= names


@pytest.mark.parametrize(
    ("kind", "name", "many", "replicas", "keys"),
    [
        ("offer", "aws/g6.2xlarge", 3.0, 1, ("offer=aws/g6.2xlarge",)),
        ("offer", "aws/g6.2xlarge", 1.0, 2, ("offer=aws/g6.2xlarge", "replicas=2")),
        ("card", "l4", 0.5, 1, ("accelerator=l4", "count=0.5")),
        ("cpu", "cpu", 8.0, 1, ("vcpus=8",)),
    ],
)
def test_a_choice_is_what_set_takes(kind: str, name: str, many: float, replicas: int, keys: tuple[str, ...]) -> None:
    choice = HardwareChoice(kind, name, "")  # type: ignore[arg-type]
    assert choice.overrides(many, replicas) == tuple(f"target.hardware.{key}" for key in keys)


def test_it_takes_the_place_of_what_was_said_before() -> None:
    request = PlanRequest(("run",), ("traffic.peak=9/s", "target.hardware.vcpus=4"))
    said = replace_hardware(request, ("target.hardware.offer=acme/c4",))
    assert said.overrides == ("traffic.peak=9/s", "target.hardware.offer=acme/c4")
