from __future__ import annotations

import platform
from pathlib import Path

import msgspec
import pytest

from app.records.gpu import MigInstance
from app.records.result import Environment, Gpu
from app.telemetry import environment as module
from app.telemetry.environment import compute_fingerprint, read_environment

A_GPU = Gpu(index=0, name="Card", uuid_hash="0" * 12, memory_gib=80.0, power_limit_w=700.0)
SLICED_GPU = msgspec.structs.replace(A_GPU, mig=(MigInstance(0, "slice", "3" * 12, 10.0),))


@pytest.fixture(scope="module")
def here() -> Environment:
    return read_environment(("cpu",), "1.2.3")


def test_environment_of_this_machine_is_read(here: Environment) -> None:
    assert here.host == platform.node()
    assert here.logical_cores >= 1
    assert here.memory_gib > 0.1
    assert (here.providers, here.onnxruntime) == (("cpu",), "1.2.3")
    assert here.packages["numpy"].count(".") >= 1
    assert 0 < here.clock_resolution_ns <= 1_000
    assert len(here.fingerprint) == 16


def test_fingerprint_of_same_machine_is_stable(here: Environment) -> None:
    assert read_environment(("cpu",), "1.2.3").fingerprint == here.fingerprint


@pytest.mark.parametrize(
    "change",
    [
        {"cpu_model": "another"},
        {"cpu_limit_cores": 0.5},
        {"cpu_governor": "powersave"},
        {"onnxruntime": "9"},
        {"providers": ("cuda",)},
        {"gpus": (A_GPU,)},
        {"packages": {}},
        {"memory_gib": 1e6},
    ],
)
def test_relevant_environment_change_changes_fingerprint(here: Environment, change: dict[str, object]) -> None:
    assert compute_fingerprint(msgspec.structs.replace(here, **change)) != here.fingerprint


@pytest.mark.parametrize("change", [{"host": "another"}, {"clock_resolution_ns": 77}, {"fingerprint": "x"}])
def test_irrelevant_environment_change_does_not_change_fingerprint(
    here: Environment, change: dict[str, object]
) -> None:
    assert compute_fingerprint(msgspec.structs.replace(here, **change)) == here.fingerprint


def test_gpu_of_same_model_has_same_fingerprint(here: Environment) -> None:
    twin = msgspec.structs.replace(A_GPU, uuid_hash="1" * 12, mig=(MigInstance(0, "slice", "2" * 12, 10.0),))
    sliced_fingerprint, twin_fingerprint = (
        compute_fingerprint(msgspec.structs.replace(here, gpus=(gpu,))) for gpu in (SLICED_GPU, twin)
    )
    assert sliced_fingerprint == twin_fingerprint


def test_fingerprint_ignores_current_pcie_generation_and_includes_max_width(here: Environment) -> None:
    idle, lesser = (
        msgspec.structs.replace(A_GPU, **change) for change in ({"pcie_generation": 1}, {"pcie_max_width": 4})
    )
    fingerprint, idle_fingerprint, lesser_fingerprint = (
        compute_fingerprint(msgspec.structs.replace(here, gpus=(gpu,))) for gpu in (A_GPU, idle, lesser)
    )
    assert fingerprint == idle_fingerprint != lesser_fingerprint


def test_cpu_model_is_read_from_cpuinfo(tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\n\nprocessor\t: 1\nmodel name\t: Some CPU\n")
    assert module._read_cpu_model(cpuinfo) == "Some CPU @ 2 GHz"


@pytest.mark.parametrize(
    ("governors", "reported"),
    [([], None), (["performance", "performance"], "performance"), (["powersave", "ondemand"], "ondemand, powersave")],
)
def test_cpu_governor_lists_governors_of_all_cores(tmp_path: Path, governors: list[str], reported: str | None) -> None:
    for core, governor in enumerate(governors):
        folder = tmp_path / f"cpu{core}" / "cpufreq"
        folder.mkdir(parents=True)
        (folder / "scaling_governor").write_text(governor + "\n")
    assert module._read_cpu_governor(tmp_path) == reported
