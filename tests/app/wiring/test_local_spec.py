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
from tests.app.wiring.conftest import MakeProfile
from tests.fakes import decoders

DIGITS = {"model": "digits"}


@pytest.fixture
def make_local_spec(make_profile: MakeProfile) -> Any:
    def build(target: Any = DIGITS, workload: Any = None, load: Any = None, **more: Any) -> LocalSpec:
        profile = make_profile(target, workload or {}, load or {}, **more)
        assert isinstance(profile, LocalProfile)
        return build_local_spec(profile, "r1")

    return build


def test_variants_are_ordered_by_batch_and_have_the_paths_of_their_models(make_local_spec: Any) -> None:
    spec = make_local_spec(DIGITS | {"precision": ["fp32", "int8-dynamic"], "batch": [8, 1], "threads": 2})
    assert [(order.precision, order.variant.batch) for order in spec.variants] == [
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
    assert spec.target.hardware is not None, "the hardware is this machine"


def test_generation_test_beyond_the_context_of_the_model_is_rejected(make_local_spec: Any, tmp_path: Path) -> None:
    """The longest test decides. It needs two more tokens than it states: the first one and one that is never
    reached."""
    target = {"model": str(decoders.contiguous(tmp_path / "tiny"))}
    assert make_local_spec(target, load={"tests": "tg6 @ d2040"}).scenarios[0].test == GenerationTest(0, 6, 2040)
    with pytest.raises(UsageError, match=r"tg7 @ d2040 needs 2,049 tokens, but the context of .*tiny is 2,048 tokens"):
        make_local_spec(target, load={"tests": "pp16, tg7 @ d2040"})


def test_child_process_sees_only_its_devices_and_cpu_variants_have_none(make_local_spec: Any) -> None:
    spec = make_local_spec(DIGITS | {"providers": ["cpu", "cuda"], "devices": [2, "MIG-7"]})
    cpu, first, both = spec.variants
    assert (cpu.variant.devices, cpu.environment, cpu.settings.io_binding) == ((), (), False)
    assert dict(first.environment) == {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": "2"}
    assert dict(both.environment)["CUDA_VISIBLE_DEVICES"] == "2,MIG-7"
    assert (both.variant.devices, both.settings.devices) == (("2", "MIG-7"), (0, 1))
    assert both.settings.io_binding, "the default on GPUs"


def test_runtime_settings_apply_to_every_variant(make_local_spec: Any) -> None:
    runtime = {"io_binding": True, "arena": False, "spinning": True, "axes": {"sequence": 128}}
    (order,) = make_local_spec(DIGITS | {"runtime": runtime}).variants
    assert order.settings == SessionSettings(io_binding=True, arena=False, spinning=True, axes={"sequence": 128})


def test_server_scenario_comes_last_with_a_default_share_of_the_throughput(make_local_spec: Any) -> None:
    assert make_local_spec(load={"scenarios": ["server", "offline"]}).scenarios == (
        ScenarioSpec("offline"),
        ScenarioSpec("server", share=0.7),
    )
    assert make_local_spec(load={"scenarios": ["server", "single-stream"], "rates": ["60/min", "50%"]}).scenarios == (
        ScenarioSpec("single-stream"),
        ScenarioSpec("server", rate_per_s=1.0),
        ScenarioSpec("server", share=0.5),
    )


def test_calibration_rows_are_not_scored_except_from_a_separate_file(make_local_spec: Any, tmp_path: Path) -> None:
    for name in ("rows.npz", "others.npz"):
        (tmp_path / name).write_bytes(b"rows")
    rows, others = str(tmp_path / "rows.npz"), str(tmp_path / "others.npz")
    static = DIGITS | {"precision": "int8-static"}
    assert make_local_spec().data == DataSpec()
    assert make_local_spec(workload={"tensors": "rows.npz", "labels": "y"}).data == DataSpec(rows=rows, label="y")
    calibrated = make_local_spec(static, {"tensors": "rows.npz", "calibration_rows": 64}).data
    assert (calibrated.calibration, calibrated.calibration_rows, calibrated.unscored_rows) == (None, 64, 64)
    apart = make_local_spec(static, {"tensors": "rows.npz", "calibration": "others.npz"}).data
    assert (apart.calibration, apart.unscored_rows) == (others, 0)


def test_limits_and_prices_of_the_profile_are_applied(make_local_spec: Any) -> None:
    target = DIGITS | {"hardware": {"offer": "aws/g6.2xlarge"}}
    spec = make_local_spec(target, limits={"duration": "10m", "memory": "2 GiB"}, slo=["service_ms.p99 < 20"],
                 load={"search": "best", "warmup": "3s"})  # fmt: skip
    assert (spec.limits.duration_s, spec.memory_limit_bytes) == (600.0, 2**31)
    assert spec.usd_per_hour is not None
    assert spec.usd_per_hour > 0
    assert (spec.is_best_search, spec.warmup_s) == (True, 3.0)
    assert spec.get_memory_limit_bytes("cpu") == 2**31
    assert make_local_spec().usd_per_hour is None


def test_default_memory_limit_of_a_cpu_variant_is_the_spare_memory(make_local_spec: Any) -> None:
    spec = make_local_spec()
    spare = spec.get_memory_limit_bytes("cpu")
    assert spare is not None
    assert spare >= 2**30
    assert spec.get_memory_limit_bytes("cuda") is None
