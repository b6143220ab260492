"""A model run on this machine by the program: measured variants, refused models, and stored calls of a stopped run."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
import yaml

from app.storage.run_directory import StoredRun
from tests.fakes import odd_models
from tests.fakes.program import Sizewise, SizewiseInProcess, until_valid, wait_until

pytestmark = pytest.mark.process

LIGHT = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light" / "light_shufflenet.onnx"
"""The fastest of the real graphs in the onnx package, with artificial weights."""
SHORT = {"warmup": "0s", "min_duration": "300ms", "max_duration": "300ms", "cold_starts": 0}
WriteLocalProfile = Callable[..., str]


@pytest.fixture
def sizewise(tmp_path: Path) -> Sizewise:
    """Commands in an empty home, without calibration and without cached models."""
    return Sizewise(tmp_path / "home", tmp_path, draws=False)


@pytest.fixture
def sizewise_in_process(tmp_path: Path) -> SizewiseInProcess:
    return SizewiseInProcess(tmp_path / "home", tmp_path, draws=False)


@pytest.fixture
def write_local_profile(tmp_path: Path) -> WriteLocalProfile:
    def write(target: dict[str, Any], load: dict[str, Any] = SHORT, **more: Any) -> str:
        path = tmp_path / "profile.yaml"
        values = {"sizewise": 1, "name": "local", "target": target, "load": load, **more}
        path.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
        return str(path)

    return write


@pytest.mark.timing
def test_variants_are_measured_and_best_variant_is_named(
    sizewise: Sizewise, write_local_profile: WriteLocalProfile, tmp_path: Path
) -> None:
    target = {
        "model": "digits",
        "variants": [{}, {"precision": "int8-dynamic", "batch": 8}, {"provider": "cuda"}],
    }
    length = {
        "min_duration": "1s",
        "max_duration": "1s",
    }  # batches of 8 at half the rate: ten a second on a slow machine
    load = SHORT | length | {
        "warmup": "1s", "cold_starts": 1, "scenarios": ["single-stream", "server"], "rates": ["50%"],
    }  # fmt: skip
    objectives = {"slo": ["service_ms.p50 < 1000"], "gates": ["throughput_per_s > 1"]}
    profile, out = write_local_profile(target, load, **objectives), tmp_path / "run"
    done = until_valid(lambda: sizewise("run", profile, "--out", str(out)), out)
    assert done.returncode == 0, done.stderr
    result = sizewise.result(out)
    plain, quantised, cuda = result["local"]["variants"]
    assert "NVIDIA" in cuda["failure"], "a variant that cannot run here does not end the others"
    assert any(check["id"] == "variant_ended" and check["verdict"] == "WARN" for check in result["validity"])
    assert (plain["failure"], quantised["failure"]) == (None, None)
    assert plain["model_sha256"] != quantised["model_sha256"]
    assert plain["fidelity"]["is_equal"]
    assert quantised["fidelity"]["top1_agreement"]["value"] > 0.9
    assert [record["is_cached"] for record in plain["cold_starts"]] == [False, True]
    assert {record["operator"] for record in plain["placements"]} >= {"Conv", "Gemm"}
    assert result["local"]["best"]["model"] == "digits"
    assert [(stage["tags"]["scenario"], stage["variant"]["precision"]) for stage in result["stages"]] == [
        ("single-stream", "as-is"),
        ("server", "as-is"),
        ("single-stream", "int8-dynamic"),
        ("server", "int8-dynamic"),
    ]
    for stage in result["stages"]:
        assert stage["completed"] > 5
        metrics = stage["metrics"]
        parts = sum(metrics[name]["mean"]["value"] for name in ("prepare_ms", "execute_ms", "post_process_ms"))
        assert parts >= metrics["service_ms"]["mean"]["value"] > 0
        assert ("latency_ms" in metrics) is (stage["tags"]["scenario"] == "server")
    assert result["stages"][0]["metrics"]["process_start_ms"]["value"]["value"] > 0
    run = StoredRun(out)
    assert set(run.calls()["stage"].to_pylist()) == {0, 1, 2, 3}
    assert run.is_complete
    assert {artifact["path"] for artifact in result["artifacts"]} >= {"calls.arrow", "spec.yaml"}
    assert sizewise("profiles", "check", str(out / "spec.yaml")).returncode == 0, "the spec is a profile"


@pytest.mark.parametrize(
    ("target", "more", "message"),
    [
        ({"model": "nowhere.onnx"}, {}, "neither a bundled model nor a file"),
        ({"model": "digits"}, {"slo": ["latency_ms.p95 < 5"]}, "the server or multi-stream scenario"),
        ({"model": "digits"}, {"slo": ["latencyms.p95 < 5"]}, "latency_ms"),
    ],
)
def test_invalid_local_profile_exits_with_2_and_line(
    sizewise_in_process: SizewiseInProcess,
    write_local_profile: WriteLocalProfile,
    target: dict[str, Any],
    more: dict[str, Any],
    message: str,
) -> None:
    done = sizewise_in_process("run", write_local_profile(target, **more))
    assert done.returncode == 2
    assert message in done.stderr
    assert "profile.yaml:" in done.stderr


def test_cuda_without_driver_exits_with_3(
    sizewise_in_process: SizewiseInProcess, write_local_profile: WriteLocalProfile
) -> None:
    done = sizewise_in_process("run", write_local_profile({"model": "digits", "providers": ["cuda"]}))
    assert done.returncode == 3
    assert "no NVIDIA driver" in done.stderr


@pytest.mark.soak  # test_provider asks a served model for CUDA in the same way every time
@pytest.mark.skipif(sys.platform != "linux", reason="simulated NVML is a Linux library")
def test_silent_cuda_fallback_exits_with_4(
    sizewise: Sizewise, write_local_profile: WriteLocalProfile, tmp_path: Path, simulated_nvml: Path
) -> None:
    profile, out = write_local_profile({"model": "digits", "providers": ["cuda"]}), tmp_path / "run"
    done = sizewise("run", profile, "--out", str(out), LD_LIBRARY_PATH=str(simulated_nvml))
    assert done.returncode == 4, done.stderr
    result = sizewise.result(out)
    check = next(check for check in result["validity"] if check["id"] == "provider")
    assert check["verdict"] == "INVALID"
    assert any(placement["is_fallback"] for placement in result["local"]["variants"][0]["placements"])


def test_interrupted_local_run_exits_with_130_and_calls_are_stored(
    sizewise: Sizewise, write_local_profile: WriteLocalProfile, tmp_path: Path
) -> None:
    load = SHORT | {"min_duration": "100s", "max_duration": "100s"}
    out = tmp_path / "run"
    process = sizewise.start("run", write_local_profile({"model": "digits", "batch": [1, 2]}, load), "--out", str(out))
    calls = out / "calls.arrow"
    wait_until(lambda: calls.exists() and StoredRun(out).calls().num_rows > 0)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert "Traceback" not in stderr
    result = sizewise.result(out)
    (stage,) = result["stages"]
    assert 0 < stage["completed"] <= StoredRun(out).calls().num_rows
    assert [variant["failure"] for variant in result["local"]["variants"]] == [None]


_RUN = {
    "sequence": odd_models.token_sequences,
    "state": odd_models.with_state,
    "scalar": odd_models.with_scalar,
    "nhwc": odd_models.nhwc,
}
_REFUSED = {"only": odd_models.sequence_output, "takes": odd_models.sequence_input}


@pytest.mark.parametrize("kinds", [1, pytest.param(len(_RUN), marks=pytest.mark.soak)])
def test_models_of_many_kinds_are_run_or_refused_with_reason(
    sizewise_in_process: SizewiseInProcess, write_local_profile: WriteLocalProfile, tmp_path: Path, kinds: int
) -> None:
    """tests/app/inference/test_callers.py runs, and test_process.py refuses, every one of these kinds."""
    runs, refused = (dict(list(group.items())[:kinds]) for group in (_RUN, _REFUSED))
    builders = {"hungry": odd_models.memory_hungry, **refused, **runs}
    models = [str(make(tmp_path / f"{name}.onnx").name) for name, make in builders.items()]
    load = SHORT | {"scenarios": ["offline"], "min_duration": "100ms", "max_duration": "100ms"}
    out = tmp_path / "run"
    profile = write_local_profile({"model": [*models, str(LIGHT)]}, load, limits={"memory": "2 GiB"})
    done = sizewise_in_process("run", profile, "--out", str(out))
    assert done.returncode in (0, 4), done.stderr
    variants = {
        variant["variant"]["model"]: variant for variant in sizewise_in_process.result(out)["local"]["variants"]
    }
    assert {name for name, variant in variants.items() if variant["failure"] is None} == {*runs, LIGHT.stem}
    assert "ran out of memory" in variants["hungry"]["failure"]
    for name in refused:
        assert "plain tensor" in variants[name]["failure"]
    assert variants["sequence"]["notes"] == ["axis sequence is dynamic; its length is assumed to be 8"]
