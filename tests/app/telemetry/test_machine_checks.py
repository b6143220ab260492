from __future__ import annotations

import time

import msgspec
import pytest

from app.records.result import Check, Environment, Gpu
from app.telemetry.environment import read_environment
from app.telemetry.host import read_busy_and_total_s
from app.telemetry.machine_checks import MachineLoad, evaluate_machine, read_machine_load

QUIET = MachineLoad(used_cores=0.05, free_memory_gib=12.0)
GPU = Gpu(index=0, name="Card", uuid_hash=None, memory_gib=80.0, power_limit_w=None)


@pytest.fixture(scope="module")
def suitable_environment() -> Environment:
    return msgspec.structs.replace(
        read_environment(("cpu",), "1.2.3"),
        logical_cores=8,
        cpu_limit_cores=None,
        cpu_governor="performance",
        clock_resolution_ns=40,
        gpus=(),
        gpu_note=None,
    )


def evaluate_check(environment: Environment, name: str, load: MachineLoad = QUIET, **change: object) -> Check:
    checks = evaluate_machine(msgspec.structs.replace(environment, **change), load)
    return next(check for check in checks if check.id == name)


def test_suitable_machine_passes_all_checks(suitable_environment: Environment) -> None:
    checks = evaluate_machine(suitable_environment, QUIET)
    assert len(checks) == 8
    assert {(check.verdict, check.hint) for check in checks} == {("VALID", None)}


@pytest.mark.parametrize(
    ("name", "change", "value"),
    [
        ("cores", {"logical_cores": 1}, 1),
        ("cores", {"cpu_limit_cores": 1.5}, 1.5),
        ("power_governor", {"cpu_governor": "ondemand, powersave"}, "ondemand, powersave"),
        ("clock_resolution", {"clock_resolution_ns": 15_600_000}, 15_600_000),
        ("gpus", {"gpu_note": "GPU 0: GPU is lost"}, None),
        ("providers", {"providers": ()}, None),
        ("providers", {"gpus": (GPU,)}, "cpu"),
    ],
)
def test_unsuitable_machine_has_warning_with_hint(
    suitable_environment: Environment, name: str, change: dict[str, object], value: object
) -> None:
    check = evaluate_check(msgspec.structs.replace(suitable_environment, **change), name)
    assert (check.verdict, check.value) == ("WARN", value)
    assert check.hint


@pytest.mark.parametrize(("name", "load"), [
    ("other_load", MachineLoad(used_cores=0.31, free_memory_gib=12)),
    ("free_memory", MachineLoad(used_cores=0, free_memory_gib=0.5)),
])  # fmt: skip
def test_busy_machine_has_warning(suitable_environment: Environment, name: str, load: MachineLoad) -> None:
    assert evaluate_check(suitable_environment, name, load).verdict == "WARN"


def test_machine_without_cpu_governor_is_valid(suitable_environment: Environment) -> None:
    check = evaluate_check(suitable_environment, "power_governor", cpu_governor=None)
    assert (check.verdict, check.value) == ("VALID", None)


def test_gpu_with_matching_provider_is_valid(suitable_environment: Environment) -> None:
    assert evaluate_check(suitable_environment, "providers", gpus=(GPU,), providers=("cuda", "cpu")).verdict == "VALID"
    assert evaluate_check(suitable_environment, "gpus", gpus=(GPU, GPU)).value == "Card, Card"


def test_providers_check_without_onnx_runtime_is_valid(suitable_environment: Environment) -> None:
    check = evaluate_check(suitable_environment, "providers", onnxruntime=None, providers=())
    assert (check.verdict, check.value) == ("VALID", None)


GPU_BUILD, CPU_BUILD = {"onnxruntime-gpu": "1.31.1"}, {"onnxruntime": "1.32.0"}
GENAI_GPU_BUILD, GENAI_CPU_BUILD = {"onnxruntime-genai-cuda": "0.18.0"}, {"onnxruntime-genai": "0.18.0"}


@pytest.mark.parametrize(
    "packages",
    [{}, GPU_BUILD, CPU_BUILD, GPU_BUILD | GENAI_GPU_BUILD, CPU_BUILD | GENAI_CPU_BUILD, GENAI_CPU_BUILD],
)
def test_compatible_onnx_runtime_packages_are_valid(
    suitable_environment: Environment, packages: dict[str, str]
) -> None:
    assert evaluate_check(suitable_environment, "onnxruntime_packages", packages=packages).verdict == "VALID"


@pytest.mark.parametrize(
    ("packages", "hint"),
    [
        (
            GPU_BUILD | CPU_BUILD,
            "These packages overwrite each other's files, so that any of them may be loaded, and GPUs unused. "
            "Run `pip uninstall -y onnxruntime-gpu onnxruntime`, and then `pip install "
            '"sizewise[local]"`.',
        ),
        (
            GPU_BUILD | CPU_BUILD | GENAI_CPU_BUILD,
            "These packages overwrite each other's files, so that any of them may be loaded, and GPUs unused. "
            "Run `pip uninstall -y onnxruntime-gpu onnxruntime onnxruntime-genai`, and then `pip "
            'install "sizewise[llm]"`.',
        ),
        (
            GPU_BUILD | GENAI_GPU_BUILD | GENAI_CPU_BUILD,
            "These packages overwrite each other's files, so that any of them may be loaded, and GPUs unused. "
            "Run `pip uninstall -y onnxruntime-gpu onnxruntime-genai-cuda onnxruntime-genai`, and then "
            '`pip install "sizewise[llm]"`.',
        ),
        (
            GPU_BUILD | GENAI_CPU_BUILD,
            "These packages do not belong together, so that language models run on the CPU at most. Run `pip "
            "uninstall -y onnxruntime-gpu onnxruntime-genai`, and then `pip install "
            '"sizewise[llm]"`.',
        ),
    ],
)
def test_conflicting_onnx_runtime_packages_have_warning_with_commands(
    suitable_environment: Environment, packages: dict[str, str], hint: str
) -> None:
    check = evaluate_check(suitable_environment, "onnxruntime_packages", packages=packages)
    assert (check.verdict, check.hint) == ("WARN", hint)
    assert check.value == ", ".join(f"{name} {version}" for name, version in packages.items())
    assert check.name == "ONNX Runtime packages"


@pytest.mark.timing
def test_own_cpu_work_is_not_counted_as_other_load() -> None:
    busy_cores = 0.0

    def work(seconds: float) -> None:
        nonlocal busy_cores
        (busy_s, _), end = read_busy_and_total_s(), time.process_time() + seconds
        start_s = time.perf_counter()
        while time.process_time() < end:
            pass
        busy_cores = (read_busy_and_total_s()[0] - busy_s) / (time.perf_counter() - start_s)

    load = read_machine_load(0.3, work)
    assert load.used_cores < busy_cores - 0.3
    assert load.free_memory_gib > 0
