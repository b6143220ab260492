from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from app.errors import UsageError
from app.inference.job import SessionSettings
from app.profiles.bundled import bundled_models
from app.profiles.local import LocalProfile
from app.records.local import GenerationTest
from app.session.local.spec import DataSpec, LocalSpec, ScenarioSpec
from app.wiring.local_spec import build_local_spec
from tests.app.wiring.conftest import Written
from tests.fakes import decoders

DIGITS = {"model": "digits"}


@pytest.fixture
def built(written: Written) -> Any:
    def build(target: Any = DIGITS, workload: Any = None, load: Any = None, **more: Any) -> LocalSpec:
        profile = written(target, workload or {}, load or {}, **more)
        assert isinstance(profile, LocalProfile)
        return build_local_spec(profile, "r1")

    return build


def test_variants_are_ordered_with_the_files_of_their_models(built: Any) -> None:
    spec = built(DIGITS | {"precision": ["fp32", "int8-dynamic"], "batch": [8, 1], "threads": 2})
    assert [(one.precision, one.variant.batch) for one in spec.variants] == [
        ("as-is", 1),
        ("as-is", 8),
        ("int8-dynamic", 1),
        ("int8-dynamic", 8),
    ]
    first = spec.variants[0]
    assert first.variant.label == "digits cpu as-is, batch 1, 2 threads"
    assert first.model == str(bundled_models()["digits"])
    assert first.settings == SessionSettings(threads=2)
    assert first.environment == ()
    assert (spec.run_id, spec.target.protocol, spec.target.model) == ("r1", "local", "digits")
    assert spec.target.hardware is not None, "this machine"


def test_a_test_beyond_the_context_of_a_folder_is_refused(built: Any, tmp_path: Path) -> None:
    """The longest test decides; the two tokens more are the first one and one that is never reached."""
    target = {"model": str(decoders.contiguous(tmp_path / "tiny"))}
    assert built(target, load={"tests": "tg6 @ d2040"}).scenarios[0].test == GenerationTest(0, 6, 2040)
    with pytest.raises(UsageError, match=r"tg7 @ d2040 needs 2,049 tokens, but the context of .*tiny is 2,048 tokens"):
        built(target, load={"tests": "pp16, tg7 @ d2040"})


def test_devices_are_the_only_ones_a_child_sees_and_cpus_have_none(built: Any) -> None:
    spec = built(DIGITS | {"providers": ["cpu", "cuda"], "devices": [2, "MIG-7"]})
    cpu, first, both = spec.variants
    assert (cpu.variant.devices, cpu.environment, cpu.settings.io_binding) == ((), (), False)
    assert dict(first.environment) == {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": "2"}
    assert dict(both.environment)["CUDA_VISIBLE_DEVICES"] == "2,MIG-7"
    assert (both.variant.devices, both.settings.devices) == (("2", "MIG-7"), (0, 1))
    assert both.settings.io_binding, "on GPUs, where nobody says"


def test_how_the_runtime_is_set_up_is_every_variants(built: Any) -> None:
    runtime = {"io_binding": True, "arena": False, "spinning": True, "axes": {"sequence": 128}}
    (order,) = built(DIGITS | {"runtime": runtime}).variants
    assert order.settings == SessionSettings(io_binding=True, arena=False, spinning=True, axes={"sequence": 128})


def test_the_server_comes_last_and_at_its_usual_share(built: Any) -> None:
    assert built(load={"scenarios": ["server", "offline"]}).scenarios == (
        ScenarioSpec("offline"),
        ScenarioSpec("server", share=0.7),
    )
    assert built(load={"scenarios": ["server", "single-stream"], "rates": ["60/min", "50%"]}).scenarios == (
        ScenarioSpec("single-stream"),
        ScenarioSpec("server", rate_per_s=1.0),
        ScenarioSpec("server", share=0.5),
    )


def test_rows_that_calibrate_are_not_scored_unless_they_are_others(built: Any, tmp_path: Path) -> None:
    for name in ("rows.npz", "others.npz"):
        (tmp_path / name).write_bytes(b"rows")
    rows, others = str(tmp_path / "rows.npz"), str(tmp_path / "others.npz")
    static = DIGITS | {"precision": "int8-static"}
    assert built().data == DataSpec()
    assert built(workload={"tensors": "rows.npz", "labels": "y"}).data == DataSpec(rows=rows, label="y")
    calibrated = built(static, {"tensors": "rows.npz", "calibration_rows": 64}).data
    assert (calibrated.calibration, calibrated.calibration_rows, calibrated.unscored_rows) == (None, 64, 64)
    apart = built(static, {"tensors": "rows.npz", "calibration": "others.npz"}).data
    assert (apart.calibration, apart.unscored_rows) == (others, 0)


def test_limits_and_prices_are_what_the_profile_says(built: Any) -> None:
    target = DIGITS | {"hardware": {"offer": "aws/g6.2xlarge"}}
    spec = built(target, limits={"duration": "10m", "memory": "2 GiB"}, slo=["service_ms.p99 < 20"],
                 load={"search": "best", "warmup": "3s"})  # fmt: skip
    assert (spec.limits.duration_s, spec.memory_limit_bytes) == (600.0, 2**31)
    assert spec.usd_per_hour is not None
    assert spec.usd_per_hour > 0
    assert (spec.is_best_search, spec.warmup_s) == (True, 3.0)
    assert spec.get_memory_limit_bytes("cpu") == 2**31
    assert built().usd_per_hour is None


def test_without_a_limit_a_variant_on_the_cpu_may_take_what_there_is_to_spare(built: Any) -> None:
    spec = built()
    spare = spec.get_memory_limit_bytes("cpu")
    assert spare is not None
    assert spare >= 2**30
    assert spec.get_memory_limit_bytes("cuda") is None
