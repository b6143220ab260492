from __future__ import annotations

import itertools
from typing import Any

import msgspec
import pytest

from app.analysis.comparisons.comparison import compare_runs, find_regressions
from app.analysis.comparisons.environment_differences import find_differences, has_cpu_difference
from app.records.comparison import EnvironmentDifference
from app.records.gpu import MigInstance
from app.records.result import Gpu, Hardware, Result
from tests.fakes.repeated import FULL, result, steady

L4 = Gpu(0, "NVIDIA L4", None, 24.0, 72.0)


def build_machine_run(**changes: Any) -> Result:
    baseline = result(steady(10.0, 0.1))
    usual: dict[str, Any] = {"gpus": (L4,), "nvidia_driver": "550.54.15", "onnxruntime": "1.24.1"}
    return msgspec.structs.replace(
        baseline, environment=msgspec.structs.replace(baseline.environment, **(usual | changes))
    )


def find_differences_by_name(baseline: Result, candidate: Result) -> dict[str, EnvironmentDifference]:
    return {difference.name: difference for difference in find_differences([baseline], [candidate])}


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("GPU", {"gpus": (msgspec.structs.replace(L4, name="NVIDIA T4"),)}),
        ("GPU", {"gpus": ()}),
        ("GPU", {"gpus": (L4, L4)}),
        ("GPU power limit", {"gpus": (msgspec.structs.replace(L4, power_limit_w=60.0),)}),
        ("MIG", {"gpus": (msgspec.structs.replace(L4, mig=(MigInstance(0, "1g.5gb", None, 5.0),)),)}),
        ("NVIDIA driver", {"nvidia_driver": "570.01"}),
        ("ONNX Runtime", {"onnxruntime": "1.25.0"}),
    ],
)
def test_hardware_driver_and_runtime_differences_forbid_comparison(name: str, changes: dict[str, Any]) -> None:
    difference = find_differences_by_name(build_machine_run(), build_machine_run(**changes))[name]
    assert difference.forbids
    assert difference.baseline != difference.candidate
    assert compare_runs([build_machine_run()], [build_machine_run(**changes)]).changes == ()


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("NVIDIA driver", {"nvidia_driver": "550.90.07"}),
        ("ONNX Runtime", {"onnxruntime": None}),
        ("OS", {"os": "Linux-7"}),
        ("Python", {"python": "3.13.0"}),
        ("locust", {"packages": {"locust": "3.0"}}),
        ("CPU governor", {"cpu_governor": "performance"}),
    ],
)
def test_minor_environment_differences_do_not_forbid_comparison(name: str, changes: dict[str, Any]) -> None:
    assert not find_differences_by_name(build_machine_run(), build_machine_run(**changes))[name].forbids


@pytest.mark.parametrize("changes", [{"cpu_model": "another"}, {"logical_cores": 64}, {"cpu_limit_cores": 1.5}])
def test_comparison_across_processors_is_advisory(changes: dict[str, Any]) -> None:
    slower = msgspec.structs.replace(build_machine_run(**changes), stages=(steady(20.0, 0.1),))
    assert has_cpu_difference(find_differences([build_machine_run()], [slower]))
    comparison = compare_runs([build_machine_run()], [slower])
    assert comparison.is_advisory
    assert comparison.changes[0].verdict == "worse"
    assert find_regressions(comparison) == ()
    assert any("machines differ or are unknown" in note for note in comparison.notes)


def test_runs_of_same_machine_have_no_environment_differences() -> None:
    assert find_differences([build_machine_run()], [build_machine_run()]) == ()


def test_load_generator_machine_does_not_forbid_comparison_of_remote_target() -> None:
    away = Hardware("2 × H100", accelerator="h100", accelerator_count=2)
    sender, other = (
        msgspec.structs.replace(
            run, target=msgspec.structs.replace(run.target, hardware=away, urls=("http://10.0.0.5:8000",))
        )
        for run in (build_machine_run(), build_machine_run(gpus=(), onnxruntime="1.25.0"))
    )
    assert not any(run.forbids for run in find_differences_by_name(sender, other).values())
    fewer = msgspec.structs.replace(away, replicas=3)
    changed = msgspec.structs.replace(other, target=msgspec.structs.replace(other.target, hardware=fewer))
    assert find_differences_by_name(sender, changed)["target hardware"].forbids


def test_different_workload_forbids_comparison_and_unknown_workload_does_not() -> None:
    baseline = build_machine_run()
    assert find_differences_by_name(baseline, msgspec.structs.replace(baseline, workload_hash="other"))[
        "workload"
    ].forbids
    assert not find_differences_by_name(baseline, msgspec.structs.replace(baseline, workload_hash=None))[
        "workload"
    ].forbids


def test_different_arrivals_of_same_stage_name_forbid_comparison() -> None:
    other = msgspec.structs.replace(steady(10.0, 0.1), arrivals="constant at 200 req/s", arrival_kind="constant")
    difference = find_differences_by_name(result(steady(10.0, 0.1)), result(other))["arrivals"]
    assert difference.forbids
    assert "Poisson" in difference.baseline
    assert "constant" in difference.candidate


def test_arrivals_are_compared_by_numbers_instead_of_text() -> None:
    baseline = result(steady(10.0, 0.1))
    renamed = msgspec.structs.replace(steady(10.0, 0.1), arrivals="Poisson, 200 per second")
    assert "arrivals" not in find_differences_by_name(baseline, result(renamed))
    ramp, jump = ((0.0, 10.0), (30.0, 200.0)), ((0.0, 10.0), (30.0, 10.0), (30.0, 200.0))
    changes: list[dict[str, Any]] = [
        {"scheduled_per_s": 201.0},
        {"arrival_kind": "gamma", "arrival_cv": 2.0},
        {"sessions": True},
        {"scheduled_per_s": None, "concurrency": 8},
        {"scheduled_per_s": None, "think_s": 0.5},
        {"scheduled_per_s": None, "rates": ramp},
        {"scheduled_per_s": None, "rates": jump},
        {"scheduled_per_s": None, "rates": ramp, "kind": "spike"},
    ]
    stages = [steady(10.0, 0.1), *(msgspec.structs.replace(steady(10.0, 0.1), **change) for change in changes)]
    for first, second in itertools.combinations(stages, 2):
        assert find_differences_by_name(result(first), result(second))["arrivals"].forbids
    longer = msgspec.structs.replace(stages[6], rates=((0.0, 10.0), (60.0, 200.0)))
    assert "arrivals" not in find_differences_by_name(result(stages[6]), result(longer))
    nearly = msgspec.structs.replace(stages[0], scheduled_per_s=1.000001 * (stages[0].scheduled_per_s or 0))
    assert "arrivals" not in find_differences_by_name(baseline, result(nearly))


def test_different_slo_forbids_comparison_of_max_rates() -> None:
    objective = msgspec.structs.replace(FULL.slo[0].objective, text="latency_ms.p95 < 10")
    other = msgspec.structs.replace(FULL, slo=(msgspec.structs.replace(FULL.slo[0], objective=objective),))
    assert find_differences_by_name(FULL, other)["SLO"].forbids
    assert not find_differences_by_name(
        msgspec.structs.replace(FULL, max_rate=None), msgspec.structs.replace(other, max_rate=None)
    )["SLO"].forbids


def test_different_environments_among_repeats_forbid_comparison() -> None:
    mixed = [build_machine_run(), build_machine_run(onnxruntime="1.25.0")]
    difference = next(item for item in find_differences(mixed, mixed) if item.name == "ONNX Runtime")
    assert difference.forbids
    assert difference.baseline == "1.24.1 / 1.25.0"


def test_forbidding_differences_are_listed_first() -> None:
    forbids = [
        difference.forbids
        for difference in find_differences(
            [build_machine_run()], [build_machine_run(os="Linux-7", onnxruntime="1.25.0")]
        )
    ]
    assert forbids == sorted(forbids, reverse=True)
