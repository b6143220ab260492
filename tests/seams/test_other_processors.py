"""What `docs/reference/platforms.md` says of plans on machines with another processor (tests/processors.py)."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from tests.fakes.golden_runs import golden_plan
from tests.processors import SETTINGS, Setting, build_environment, clean, explain_skip, read_features

pytestmark = pytest.mark.soak

EXAMPLES = Path(__file__).parents[2] / "profiles" / "examples"
HARDWARE = "target.hardware.offer=aws/c7i.4xlarge"
RELATIVE_TOLERANCE = 1e-9
NEW_FITS = {
    "curve": ("curve.csv", "--slo", "latency_ms.p95 < 50", "--traffic", "traffic.yaml", "--set", HARDWARE),
    "language model": (
        "guidellm.json", "--slo", "ttft_ms.p95 < 2000",
        "--set", "traffic.peak=20/s", "--set", "target.hardware.offer=aws/g6.xlarge",
    ),
}  # fmt: skip


class Planned(NamedTuple):
    printed: str
    document: dict[str, Any]


def plan(folder: Path, environment: Mapping[str, str], *arguments: str) -> Planned:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "app", "plan", *arguments, "--out", folder / "again.yaml"],
        cwd=EXAMPLES, capture_output=True, text=True, check=False,
        env={**environment, "SIZEWISE_HOME": str(folder / "home")},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return Planned(done.stdout, yaml.load((folder / "again.yaml").read_text(), Loader=yaml.CSafeLoader))


@pytest.fixture(scope="module")
def reference_fits(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Planned]:
    """New fits, as this processor computes them without any setting."""
    folder = tmp_path_factory.mktemp("here")
    return {name: plan(folder, clean(os.environ), *arguments) for name, arguments in NEW_FITS.items()}


@pytest.fixture(scope="module")
def plan_files(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Path, Planned]]:
    """Plan files and their plans, as this processor computes them without any setting."""
    folder = tmp_path_factory.mktemp("files")
    old, new = folder / "old", folder / "new"
    old.mkdir()
    new.mkdir()
    plan(new, clean(os.environ), *NEW_FITS["curve"])
    shutil.move(new / "again.yaml", new / "plan.yaml")
    paths = (golden_plan(old), new / "plan.yaml")
    return [(path, plan(path.parent, clean(os.environ), str(path))) for path in paths]


@pytest.fixture(scope="module", params=SETTINGS, ids=[setting.name for setting in SETTINGS])
def environment(request: pytest.FixtureRequest) -> dict[str, str]:
    setting: Setting = request.param
    if reason := explain_skip(setting, read_features(os.environ)):
        pytest.skip(reason)
    return build_environment(setting, os.environ)


def iterate_differences(value: Any, other: Any, path: str = "") -> Iterator[str]:
    """Yield the path of each value that differs from the other one by more than the tolerance."""
    if isinstance(value, dict) and isinstance(other, dict) and value.keys() == other.keys():
        for key in value:
            yield from iterate_differences(value[key], other[key], f"{path}.{key}")
    elif isinstance(value, list) and isinstance(other, list) and len(value) == len(other):
        for index, pair in enumerate(zip(value, other, strict=True)):
            yield from iterate_differences(*pair, f"{path}[{index}]")
    elif isinstance(value, float) and isinstance(other, float):
        if other != pytest.approx(value, rel=RELATIVE_TOLERANCE, abs=0.0, nan_ok=True):
            yield f"{path}: {value} and {other}"
    elif value != other:
        yield f"{path}: {value} and {other}"


def test_replanned_file_prints_same_text_and_differs_only_in_last_digits(
    environment: dict[str, str], plan_files: list[tuple[Path, Planned]], tmp_path: Path
) -> None:
    for path, reference in plan_files:
        replanned = plan(tmp_path, environment, str(path))
        assert replanned.printed == reference.printed
        assert list(iterate_differences(reference.document["plan"], replanned.document["plan"])) == []
        assert reference.document["inputs"] == replanned.document["inputs"]


def get_capacities(planned: Planned) -> dict[str, Any]:
    """Return the capacity per instance of each offer that qualifies and has an interval."""
    fleets = [planned.document["plan"]["recommendation"]["fleet"], *planned.document["plan"]["offers"]]
    return {
        fleet["offer"]: fleet["capacity_per_instance_per_s"]
        for fleet in fleets
        if isinstance(fleet, dict) and fleet.get("capacity_per_instance_per_s", {}).get("ci95")
    }


@pytest.mark.parametrize("name", NEW_FITS)
def test_capacity_of_new_fit_is_within_interval_of_other_processor(
    environment: dict[str, str], reference_fits: dict[str, Planned], tmp_path: Path, name: str
) -> None:
    reference, refitted = (
        get_capacities(reference_fits[name]),
        get_capacities(plan(tmp_path, environment, *NEW_FITS[name])),
    )
    assert reference
    assert reference.keys() == refitted.keys()
    for offer, capacity in reference.items():
        low, high = capacity["ci95"]
        assert low <= refitted[offer]["value"] <= high
