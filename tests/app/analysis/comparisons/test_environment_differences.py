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


def machine(**changes: Any) -> Result:
    baseline = result(steady(10.0, 0.1))
    usual: dict[str, Any] = {"gpus": (L4,), "nvidia_driver": "550.54.15", "onnxruntime": "1.24.1"}
    return msgspec.structs.replace(
        baseline, environment=msgspec.structs.replace(baseline.environment, **(usual | changes))
    )


def found(baseline: Result, candidate: Result) -> dict[str, EnvironmentDifference]:
    return {one.name: one for one in find_differences([baseline], [candidate])}


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
def test_what_makes_another_machine_forbids(name: str, changes: dict[str, Any]) -> None:
    difference = found(machine(), machine(**changes))[name]
    assert difference.forbids
    assert difference.baseline != difference.candidate
    assert compare_runs([machine()], [machine(**changes)]).changes == ()


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
def test_what_may_matter_is_reported_and_forbids_nothing(name: str, changes: dict[str, Any]) -> None:
    assert not found(machine(), machine(**changes))[name].forbids


@pytest.mark.parametrize("changes", [{"cpu_model": "another"}, {"logical_cores": 64}, {"cpu_limit_cores": 1.5}])
def test_on_another_processor_nothing_fails(changes: dict[str, Any]) -> None:
    slower = msgspec.structs.replace(machine(**changes), stages=(steady(20.0, 0.1),))
    assert has_cpu_difference(find_differences([machine()], [slower]))
    comparison = compare_runs([machine()], [slower])
    assert comparison.is_advisory
    assert comparison.changes[0].verdict == "worse"
    assert find_regressions(comparison) == ()
    assert any("machines differ or are unknown" in note for note in comparison.notes)


def test_two_runs_of_one_machine_differ_in_nothing() -> None:
    assert find_differences([machine()], [machine()]) == ()


def test_a_machine_that_only_sends_the_load_forbids_nothing() -> None:
    away = Hardware("2 × H100", accelerator="h100", accelerator_count=2)
    sender, other = (
        msgspec.structs.replace(
            one, target=msgspec.structs.replace(one.target, hardware=away, urls=("http://10.0.0.5:8000",))
        )
        for one in (machine(), machine(gpus=(), onnxruntime="1.25.0"))
    )
    assert not any(one.forbids for one in found(sender, other).values())
    fewer = msgspec.structs.replace(away, replicas=3)
    changed = msgspec.structs.replace(other, target=msgspec.structs.replace(other.target, hardware=fewer))
    assert found(sender, changed)["target hardware"].forbids


def test_another_workload_forbids_and_one_that_is_not_reported_does_not() -> None:
    baseline = machine()
    assert found(baseline, msgspec.structs.replace(baseline, workload_hash="other"))["workload"].forbids
    assert not found(baseline, msgspec.structs.replace(baseline, workload_hash=None))["workload"].forbids


def test_stages_of_one_name_with_other_arrivals_forbid() -> None:
    other = msgspec.structs.replace(steady(10.0, 0.1), arrivals="constant at 200 req/s", arrival_kind="constant")
    difference = found(result(steady(10.0, 0.1)), result(other))["arrivals"]
    assert difference.forbids
    assert "Poisson" in difference.baseline
    assert "constant" in difference.candidate


def test_arrivals_are_compared_by_their_numbers_and_not_by_their_texts() -> None:
    baseline = result(steady(10.0, 0.1))
    renamed = msgspec.structs.replace(steady(10.0, 0.1), arrivals="Poisson, 200 per second")
    assert "arrivals" not in found(baseline, result(renamed))
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
        assert found(result(first), result(second))["arrivals"].forbids
    longer = msgspec.structs.replace(stages[6], rates=((0.0, 10.0), (60.0, 200.0)))
    assert "arrivals" not in found(result(stages[6]), result(longer))
    nearly = msgspec.structs.replace(stages[0], scheduled_per_s=1.000001 * (stages[0].scheduled_per_s or 0))
    assert "arrivals" not in found(baseline, result(nearly))


def test_rates_found_for_another_slo_are_not_compared() -> None:
    objective = msgspec.structs.replace(FULL.slo[0].objective, text="latency_ms.p95 < 10")
    other = msgspec.structs.replace(FULL, slo=(msgspec.structs.replace(FULL.slo[0], objective=objective),))
    assert found(FULL, other)["SLO"].forbids
    assert not found(msgspec.structs.replace(FULL, max_rate=None), msgspec.structs.replace(other, max_rate=None))[
        "SLO"
    ].forbids


def test_repeats_that_are_not_alike_among_themselves_are_reported() -> None:
    mixed = [machine(), machine(onnxruntime="1.25.0")]
    difference = next(one for one in find_differences(mixed, mixed) if one.name == "ONNX Runtime")
    assert difference.forbids
    assert difference.baseline == "1.24.1 / 1.25.0"


def test_what_forbids_stands_first() -> None:
    names = [one.forbids for one in find_differences([machine()], [machine(os="Linux-7", onnxruntime="1.25.0")])]
    assert names == sorted(names, reverse=True)
