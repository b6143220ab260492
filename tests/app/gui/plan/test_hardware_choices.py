from __future__ import annotations

from pathlib import Path

import pytest

from app.gui.plan.hardware_choices import HardwareChoice, list_hardware_choices, replace_hardware
from app.wiring.planning import PlanRequest
from tests.fakes import plan_sources as sources
from tests.fakes.offers import TODAY


def test_hardware_choices_list_each_catalog_gpu_and_instance_once() -> None:
    choices = list_hardware_choices(PlanRequest(()), TODAY)
    assert choices[0].kind == "cpu"
    assert len({(choice.kind, choice.name) for choice in choices}) == len(choices) > 200
    labels = {(choice.kind, choice.name): choice.label for choice in choices}
    assert labels["card", "l4"].endswith("L4, 24 GiB – GPU")
    assert labels["offer", "aws/g6.2xlarge"] == "aws/g6.2xlarge – 1 × NVIDIA L4, 8 vCPUs"


def test_hardware_choices_include_offers_of_a_custom_price_list(tmp_path: Path) -> None:
    price_list = Path(sources.write_file(tmp_path / "own.yaml", sources.OFFERS))
    names = {choice.name for choice in list_hardware_choices(PlanRequest((), offers=(price_list,)), TODAY)}
    assert {"acme/c4", "own/rack", "aws/g6.2xlarge"} <= names


@pytest.mark.parametrize(
    ("kind", "name", "count", "replicas", "keys"),
    [
        ("offer", "aws/g6.2xlarge", 3.0, 1, ("offer=aws/g6.2xlarge",)),
        ("offer", "aws/g6.2xlarge", 1.0, 2, ("offer=aws/g6.2xlarge", "replicas=2")),
        ("card", "l4", 0.5, 1, ("accelerator=l4", "count=0.5")),
        ("cpu", "cpu", 8.0, 1, ("vcpus=8",)),
    ],
)
def test_hardware_choice_is_converted_to_profile_overrides(
    kind: str, name: str, count: float, replicas: int, keys: tuple[str, ...]
) -> None:
    choice = HardwareChoice(kind, name, "")  # type: ignore[arg-type]
    assert choice.overrides(count, replicas) == tuple(f"target.hardware.{key}" for key in keys)


def test_new_hardware_overrides_replace_the_previous_ones() -> None:
    request = PlanRequest(("run",), ("traffic.peak=9/s", "target.hardware.vcpus=4"))
    replaced = replace_hardware(request, ("target.hardware.offer=acme/c4",))
    assert replaced.overrides == ("traffic.peak=9/s", "target.hardware.offer=acme/c4")
