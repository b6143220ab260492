"""Find the differences between the environments of two sets of runs, and decide whether each
difference makes the runs incomparable."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import msgspec

from app.analysis.arrivals import build_arrivals_key, build_process_key, format_search_arrivals
from app.analysis.comparisons.metric_pairs import list_comparable_stages
from app.records.comparison import DifferenceId, EnvironmentDifference
from app.records.result import Environment, Objective, Result, Target
from app.records.stage_kinds import STAGE_KINDS

NOT_REPORTED = "n/a"
_CPU_DIFFERENCES: tuple[DifferenceId, ...] = ("cpu", "cores", "machine")
_LOOPBACK_PREFIXES = ("//127.", "//localhost", "//[::1]")
_MAX_LISTED_STAGES = 3
_T = TypeVar("_T")


class RunSetup(msgspec.Struct, frozen=True):
    """Environment, target and workload hash of the machine of a run, all known before the run
    starts."""

    environment: Environment
    target: Target
    workload_hash: str | None

    @property
    def is_target_machine(self) -> bool:
        """True if the target runs on this machine, according to the profile; False if this machine
        only generates the load."""
        hardware, urls = self.target.hardware, self.target.urls
        is_local = not urls or any(prefix in url for prefix in _LOOPBACK_PREFIXES for url in urls)
        return is_local or hardware is None or hardware.is_this_machine


def extract_setup(result: Result) -> RunSetup:
    return RunSetup(result.environment, result.target, result.workload_hash)


def find_differences(baseline: Sequence[Result], candidate: Sequence[Result]) -> tuple[EnvironmentDifference, ...]:
    """Find all environment differences; those that make the runs incomparable come first."""
    differences = [
        *find_setup_differences([extract_setup(run) for run in baseline], [extract_setup(run) for run in candidate]),
        *_build_run_differences(baseline, candidate),
    ]
    return tuple(sorted(differences, key=lambda difference: not difference.forbids))


def find_setup_differences(baseline: Sequence[RunSetup], candidate: Sequence[RunSetup]) -> list[EnvironmentDifference]:
    """Find the differences between the setups of two sets of runs. A different GPU, driver or
    runtime makes runs incomparable only if the target runs on the machine; setups that only
    generate load may differ."""
    if any(
        setup.environment.fingerprint == NOT_REPORTED for setup in (*baseline, *candidate)
    ):  # imported from another tool, without environment data
        return [EnvironmentDifference("machine", _list_hosts(baseline), _list_hosts(candidate), forbids=False)]
    has_target_machine = any(setup.is_target_machine for setup in (*baseline, *candidate))
    differences: list[EnvironmentDifference | None] = [
        _build_difference("gpu", baseline, candidate, _format_gpus, forbids=has_target_machine),
        _build_difference("gpu_power_limit", baseline, candidate, _format_power_limits, forbids=has_target_machine),
        _build_difference("mig", baseline, candidate, _format_mig, forbids=has_target_machine),
        _build_driver_difference(baseline, candidate, has_target_machine=has_target_machine),
        _build_difference(
            "onnxruntime",
            baseline,
            candidate,
            lambda setup: setup.environment.onnxruntime,
            forbids=has_target_machine,
        ),
        _build_difference(
            "workload", baseline, candidate, lambda setup: _format_short_hash(setup.workload_hash), forbids=True
        ),
        _build_hardware_difference(baseline, candidate),
        _build_difference(
            "target", baseline, candidate, lambda setup: ", ".join(setup.target.urls) or setup.target.protocol
        ),
        _build_difference("model", baseline, candidate, lambda setup: setup.target.model),
        _build_difference("cpu", baseline, candidate, lambda setup: setup.environment.cpu_model),
        _build_difference("cores", baseline, candidate, lambda setup: _format_cores(setup.environment)),
        _build_difference("cpu_governor", baseline, candidate, lambda setup: setup.environment.cpu_governor),
        _build_difference("memory", baseline, candidate, lambda setup: f"{setup.environment.memory_gib:.0f} GiB"),
        _build_difference("os", baseline, candidate, lambda setup: setup.environment.os),
        _build_difference("python", baseline, candidate, lambda setup: setup.environment.python),
        *_build_package_differences(baseline, candidate),
    ]
    return [difference for difference in differences if difference is not None]


def find_slo_differences(baseline: Sequence[Result], slo: Sequence[Objective]) -> list[EnvironmentDifference]:
    """Find the difference between the SLOs of the baseline runs and the SLO of a search for the max
    rate, which makes max rates incomparable."""
    planned = ", ".join(objective.text for objective in slo if not objective.implied)
    measured = tuple(sorted({", ".join(_list_slo_texts(run)) for run in baseline}))
    return [] if measured == (planned,) else [EnvironmentDifference("slo", measured, (planned,), forbids=True)]


def build_comparability_key(result: Result) -> str:
    """Return a key that is equal for runs of the same profile name with equal machines, hardware of
    the target, workloads and loads. No difference between runs with the same key makes them
    incomparable, and their CPUs are equal."""
    setup = extract_setup(result)
    environment = setup.environment
    requested_stages = {
        (stage.name, *build_arrivals_key(stage))
        for stage in result.stages
        if stage.variant is None and STAGE_KINDS[stage.kind].is_configured and not stage.is_pooled
    }
    search_processes = {build_process_key(stage) for stage in result.stages if STAGE_KINDS[stage.kind].is_search}
    properties = (
        result.name,
        result.tool.name,
        _format_short_hash(setup.workload_hash),
        _format_hardware_kind(setup),
        environment.cpu_model,
        _format_cores(environment),
        _format_gpus(setup),
        _format_power_limits(setup),
        _format_mig(setup),
        _get_driver_major(setup),
        environment.onnxruntime,
        sorted(_get_precisions([result])),
        sorted(map(repr, requested_stages)),
        sorted(map(repr, search_processes)),
        [] if result.max_rate is None else _list_slo_texts(result),
    )
    return hashlib.sha256(msgspec.json.encode(properties)).hexdigest()[:16]


def format_differences(differences: Sequence[EnvironmentDifference]) -> str:
    """Format differences as one line, such as "GPU: 1 × L4 (baseline), 1 × T4 (candidate); ONNX
    Runtime: …"."""
    return "; ".join(
        (f"{difference.name}: {difference.baseline} (baseline), {difference.candidate} (candidate)")
        for difference in differences
    )


def has_cpu_difference(differences: Sequence[EnvironmentDifference]) -> bool:
    """Return True if the CPUs differ, or if the environment of one machine is unknown."""
    return any(difference.id in _CPU_DIFFERENCES for difference in differences)


def _list_hosts(setups: Sequence[RunSetup]) -> tuple[str, ...]:
    return tuple(sorted({setup.environment.host for setup in setups}))


def _build_run_differences(baseline: Sequence[Result], candidate: Sequence[Result]) -> Iterator[EnvironmentDifference]:
    precisions = _get_precisions(baseline), _get_precisions(candidate)
    has_max_rates = all(run.max_rate is not None for run in (*baseline, *candidate))
    has_disjoint_precisions = bool(precisions[0]) and bool(precisions[1]) and not precisions[0] & precisions[1]
    differences = [
        _build_difference(
            "precision",
            baseline,
            candidate,
            lambda run: ", ".join(sorted(_get_precisions([run]))),
            forbids=has_disjoint_precisions,
        ),
        _build_difference(
            "slo", baseline, candidate, lambda run: ", ".join(_list_slo_texts(run)), forbids=has_max_rates
        ),
        _build_tool_difference(baseline, candidate),
        _build_difference(
            "profile", baseline, candidate, lambda run: f"{run.name} {_format_short_hash(run.profile_hash)}"
        ),
        _build_arrivals_difference(baseline, candidate),
    ]
    yield from (difference for difference in differences if difference is not None)


def _build_tool_difference(baseline: Sequence[Result], candidate: Sequence[Result]) -> EnvironmentDifference | None:
    if all(run.tool.name == "sizewise" for run in (*baseline, *candidate)):
        return _build_difference("version", baseline, candidate, lambda run: run.tool.version)
    return _build_difference("tool", baseline, candidate, lambda run: f"{run.tool.name} {run.tool.version}")


def _build_difference(
    difference_id: DifferenceId,
    baseline: Sequence[_T],
    candidate: Sequence[_T],
    read_value: Callable[[_T], str | None],
    *,
    forbids: bool = False,
    package: str | None = None,
) -> EnvironmentDifference | None:
    """Build the difference between two values; `None` if the values are equal. If one side does not
    report the value, the difference does not make the runs incomparable."""
    distinct_baseline_values, distinct_candidate_values = (
        _collect_distinct_values(baseline, read_value),
        _collect_distinct_values(candidate, read_value),
    )
    if distinct_baseline_values == distinct_candidate_values and len(distinct_baseline_values) < 2:
        return None
    are_values_known = NOT_REPORTED not in distinct_baseline_values | distinct_candidate_values
    baseline_values, candidate_values = (
        tuple(sorted(side)) for side in (distinct_baseline_values, distinct_candidate_values)
    )
    return EnvironmentDifference(
        difference_id, baseline_values, candidate_values, forbids=forbids and are_values_known, package=package
    )


def _collect_distinct_values(side: Sequence[_T], read_value: Callable[[_T], str | None]) -> set[str]:
    return {read_value(item) or NOT_REPORTED for item in side}


def _format_gpus(setup: RunSetup) -> str:
    counts = Counter(gpu.name for gpu in setup.environment.gpus)
    return ", ".join(f"{count} × {name}" for name, count in sorted(counts.items())) or "none"


def _format_power_limits(setup: RunSetup) -> str | None:
    gpus = setup.environment.gpus
    if any(gpu.power_limit_w is None for gpu in gpus):
        return None
    return ", ".join(sorted({f"{gpu.power_limit_w:.0f} W" for gpu in gpus})) or "none"


def _format_mig(setup: RunSetup) -> str:
    instance_counts = Counter(instance.name for gpu in setup.environment.gpus for instance in gpu.mig)
    return ", ".join(f"{count} × {profile_name}" for profile_name, count in sorted(instance_counts.items())) or "off"


def _build_driver_difference(
    baseline: Sequence[RunSetup], candidate: Sequence[RunSetup], *, has_target_machine: bool
) -> EnvironmentDifference | None:
    """Build the difference between driver versions; `None` if the full versions are equal. Only a
    different major version makes runs incomparable."""
    major_versions = _collect_distinct_values(baseline, _get_driver_major) | _collect_distinct_values(
        candidate, _get_driver_major
    )
    return _build_difference(
        "nvidia_driver",
        baseline,
        candidate,
        lambda setup: setup.environment.nvidia_driver,
        forbids=has_target_machine and len(major_versions) > 1,
    )


def _get_driver_major(setup: RunSetup) -> str | None:
    driver = setup.environment.nvidia_driver
    return None if driver is None else driver.partition(".")[0]


def _build_hardware_difference(
    baseline: Sequence[RunSetup], candidate: Sequence[RunSetup]
) -> EnvironmentDifference | None:
    """Build the difference between the targets' hardware; `None` if the hardware is equal. A
    different accelerator, accelerator count or replica count makes runs incomparable."""
    hardware_kinds = _collect_distinct_values(baseline, _format_hardware_kind) | _collect_distinct_values(
        candidate, _format_hardware_kind
    )
    return _build_difference(
        "hardware",
        baseline,
        candidate,
        _format_hardware,
        forbids=len(hardware_kinds) > 1,
    )


def _format_hardware(setup: RunSetup) -> str | None:
    hardware = setup.target.hardware
    if hardware is None:
        return None
    return hardware.description if hardware.replicas == 1 else f"{hardware.replicas} replicas of {hardware.description}"


def _format_hardware_kind(setup: RunSetup) -> str | None:
    hardware = setup.target.hardware
    if hardware is None:
        return None
    return f"{hardware.accelerator} × {hardware.accelerator_count:g} × {hardware.replicas}, {hardware.offer}"


def _format_cores(environment: Environment) -> str:
    limit = environment.cpu_limit_cores
    return f"{environment.logical_cores}" if limit is None else f"{limit:g} of {environment.logical_cores}"


def _build_package_differences(
    baseline: Sequence[RunSetup], candidate: Sequence[RunSetup]
) -> Iterator[EnvironmentDifference | None]:
    package_names = sorted({package for setup in (*baseline, *candidate) for package in setup.environment.packages})
    for package in package_names:
        if not package.startswith("onnxruntime"):  # compared separately, as reported by the runtime
            yield _build_difference("package", baseline, candidate, _build_version_reader(package), package=package)


def _build_version_reader(package: str) -> Callable[[RunSetup], str | None]:
    return lambda setup: setup.environment.packages.get(package)


def _get_precisions(runs: Sequence[Result]) -> set[str]:
    return {stage.variant.precision for run in runs for stage in run.stages if stage.variant is not None}


def _list_slo_texts(result: Result) -> list[str]:
    return [
        objective_result.objective.text for objective_result in result.slo if not objective_result.objective.implied
    ]


def _build_arrivals_difference(baseline: Sequence[Result], candidate: Sequence[Result]) -> EnvironmentDifference | None:
    """Build the difference between the arrivals of stages with the same name. Different arrivals
    make the runs incomparable."""
    baseline_arrivals, candidate_arrivals = _collect_arrivals_by_stage(baseline), _collect_arrivals_by_stage(candidate)
    differing_stages = [
        name for name, texts in baseline_arrivals.items() if candidate_arrivals.get(name, texts).keys() != texts.keys()
    ]
    if not differing_stages:
        return None
    trailing_values = (
        ()
        if len(differing_stages) <= _MAX_LISTED_STAGES
        else (f"and {len(differing_stages) - _MAX_LISTED_STAGES} more",)
    )
    baseline_values, candidate_values = (
        (
            *(
                f"{name}: {' / '.join(sorted(set(side[name].values()))) or NOT_REPORTED}"
                for name in differing_stages[:_MAX_LISTED_STAGES]
            ),
            *trailing_values,
        )
        for side in (baseline_arrivals, candidate_arrivals)
    )
    return EnvironmentDifference("arrivals", baseline_values, candidate_values, forbids=True)


def _collect_arrivals_by_stage(runs: Sequence[Result]) -> dict[str, dict[tuple[object, ...], str]]:
    """Map each stage name to its arrival processes, as a dict from comparison key to display text.
    The arrival process of an imported run never equals one of a Sizewise run, because it may be
    assumed.
    """
    arrivals_by_stage: dict[str, dict[tuple[object, ...], str]] = {}
    for run in runs:
        is_sizewise_run = run.tool.name == "sizewise"
        for comparable_stage, stage in list_comparable_stages(run):
            if stage.variant is None:
                key = is_sizewise_run, *build_arrivals_key(stage)
                arrivals_by_stage.setdefault(comparable_stage.stage_name, {})[key] = stage.arrivals or NOT_REPORTED
        if run.max_rate is not None:
            search_arrivals = arrivals_by_stage.setdefault("search", {})
            for stage in run.stages:
                if STAGE_KINDS[stage.kind].is_search:
                    search_arrivals[is_sizewise_run, *build_process_key(stage)] = (
                        format_search_arrivals(stage) or NOT_REPORTED
                    )
    return arrivals_by_stage


def _format_short_hash(digest: str | None) -> str | None:
    return None if digest is None else digest.removeprefix("sha256:")[:12]
