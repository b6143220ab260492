"""What the docs name exists, and a default that they state is the code's."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from app.cli.main import build_parser
from app.planning.fleets import plan_fleets
from app.planning.sizing import build_demand
from app.profiles.fields import FieldSpec, iter_fields, profile_fields
from app.profiles.plan import PlanSettings, build_plan_limits
from app.profiles.profile import PROFILES
from app.records.offers import PlanLimits
from tests.fakes.offers import catalogue, offer, question

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PRIVATE = ("python -m ", "tests.", "loadgen.")
"""Lines that name these are of programs for developers, with options of their own."""


def _fields(protocol: str) -> dict[str, FieldSpec]:
    return {".".join(one for one in path if one != "*"): field for path, field in iter_fields(profile_fields(protocol))}


def _options(of: argparse.ArgumentParser) -> Iterator[str]:
    for action in of._actions:
        yield from action.option_strings
        if isinstance(action, argparse._SubParsersAction):
            for below in action.choices.values():
                yield from _options(below)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_option_and_key_that_a_page_names_exists(page: Path) -> None:
    lines = [line for line in page.read_text("utf-8").splitlines() if not any(word in line for word in PRIVATE)]
    options = {name for line in lines for name in re.findall(r"(?<![\w-])--[a-z][a-z-]*[a-z]", line)}
    assert options - {*_options(build_parser()), "--trace", "--draws", "--seeds", "--state"} == set()
    keys = {key for protocol in PROFILES for key in _fields(protocol)}
    named = {key for line in lines for key in re.findall(r"`([a-z_]+(?:\.[a-z_0-9]+)+)\b[^`/]*`", line)}
    of_profiles = {key for key in named if key.split(".")[0] in {one.split(".")[0] for one in keys} - {"sizewise"}}
    assert of_profiles - keys - {"telemetry.arrow"} == set()


@pytest.mark.parametrize(("page", "protocol", "least"), [("local.md", "local", 11), ("telemetry.md", "http", 2)])
def test_a_default_in_a_table_is_the_codes(page: str, protocol: str, least: int) -> None:
    fields, compared = _fields(protocol), 0
    for line in (ROOT / "docs" / page).read_text("utf-8").splitlines():
        cells = [cell.strip() for cell in line.split("|")[1:3]]
        if len(cells) < 2 or not re.fullmatch(r"`[^`]+`(, `[^`]+`)*", cells[1]):
            continue
        for key, default in zip(re.findall(r"`([^`]+)`", cells[0]), re.findall(r"`([^`]+)`", cells[1]), strict=False):
            field = next((fields[one] for one in (key, f"target.{key}", f"telemetry.{key}") if one in fields), None)
            if field is None or field.default is None:
                continue
            compared += 1
            found = field.default[0] if isinstance(field.default, list) else field.default
            assert yaml.safe_load(default) == found, (key, default, field.default)
    assert compared >= least


def _guides_plan() -> dict[str, Any]:
    text = (ROOT / "docs" / "guide.md").read_text("utf-8")
    (block,) = (one for one in re.findall(r"```yaml\n(plan:.*?)```", text, re.DOTALL) if "surge" in one)
    plan: dict[str, Any] = yaml.safe_load(block)["plan"]
    return plan


def test_the_guides_plan_has_a_spare_for_failures_and_one_for_updates() -> None:
    """`redundancy: n+1` and `surge: 1`, as the comments beside them say."""
    limits = build_plan_limits(PlanSettings.model_validate(_guides_plan()))
    assert (limits.redundancy, limits.surge) == (1, 1)
    assert build_demand(question().traffic, msgspec.structs.replace(limits, zones=1)).spares == 2


def test_max_accelerators_is_of_one_instance() -> None:
    """As the guide says; the fleet may have more of them together."""
    wide = offer("wide", accelerator_count=8.0)
    narrow = offer("narrow", accelerator_count=4.0)
    limits = PlanLimits(max_accelerators=float(_guides_plan()["max_accelerators"]))
    plan = plan_fleets(question(of=catalogue(wide, narrow), limits=limits))
    rejected = {fleet.instance_type: fleet.rejected_by for fleet in plan.offers}
    assert rejected == {"wide": "accelerators", "narrow": None}
    assert plan.recommendation is not None
    assert (plan.recommendation.fleet.instances or 0) * 4 > 4
