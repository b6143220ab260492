"""Differences between the environments of two sets of runs, and whether these make their numbers incomparable."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import msgspec

from app.analysis.arrivals import build_arrivals_key, build_process_key, format_search_arrivals
from app.analysis.comparisons.metric_pairs import list_places
from app.records.comparison import DifferenceId, EnvironmentDifference
from app.records.result import Environment, Result, Target

NOT_REPORTED = "n/a"
_CPU_DIFFERENCES: tuple[DifferenceId, ...] = ("cpu", "cores", "machine")
_LOOPBACK = ("//127.", "//localhost", "//[::1]")
_MAX_NAMED = 3
_T = TypeVar("_T")


class Machine(msgspec.Struct, frozen=True):
    """Environment of a run, known before the run starts."""

    environment: Environment
    target: Target
    workload_hash: str | None

    @property
    def is_target_machine(self) -> bool:
        """True if the target runs on this machine, as far as the profile shows; otherwise it only sends the load."""
        hardware, urls = self.target.hardware, self.target.urls
        is_near = not urls or any(host in url for host in _LOOPBACK for url in urls)
        return is_near or hardware is None or hardware.is_this_machine


def extract_machine(result: Result) -> Machine:
    return Machine(result.environment, result.target, result.workload_hash)


def find_differences(base: Sequence[Result], candidate: Sequence[Result]) -> tuple[EnvironmentDifference, ...]:
    """Find the differences, those that make the runs incomparable first."""
    differences = [
        *find_machine_differences([extract_machine(run) for run in base], [extract_machine(run) for run in candidate]),
        *_run_differences(base, candidate),
    ]
    return tuple(sorted(differences, key=lambda difference: not difference.forbids))


def find_machine_differences(base: Sequence[Machine], candidate: Sequence[Machine]) -> list[EnvironmentDifference]:
    """Find the differences between machines. GPUs, driver and runtime only make runs incomparable if the target runs on
    the machine, not if it only sends the load."""
    if any(
        machine.environment.fingerprint == NOT_REPORTED for machine in (*base, *candidate)
    ):  # another tool's run, without environment
        return [EnvironmentDifference("machine", _hosts(base), _hosts(candidate), forbids=False)]
    is_measured = any(machine.is_target_machine for machine in (*base, *candidate))
    differences: list[EnvironmentDifference | None] = [
        _difference("gpu", base, candidate, _gpus, forbids=is_measured),
        _difference("gpu_power_limit", base, candidate, _power_limits, forbids=is_measured),
        _difference("mig", base, candidate, _mig, forbids=is_measured),
        _driver_difference(base, candidate, is_measured=is_measured),
        _difference(
            "onnxruntime", base, candidate, lambda machine: machine.environment.onnxruntime, forbids=is_measured
        ),
        _difference("workload", base, candidate, lambda machine: _short_hash(machine.workload_hash), forbids=True),
        _hardware_difference(base, candidate),
        _difference(
            "target", base, candidate, lambda machine: ", ".join(machine.target.urls) or machine.target.protocol
        ),
        _difference("model", base, candidate, lambda machine: machine.target.model),
        _difference("cpu", base, candidate, lambda machine: machine.environment.cpu_model),
        _difference("cores", base, candidate, lambda machine: _cores(machine.environment)),
        _difference("cpu_governor", base, candidate, lambda machine: machine.environment.cpu_governor),
        _difference("memory", base, candidate, lambda machine: f"{machine.environment.memory_gib:.0f} GiB"),
        _difference("os", base, candidate, lambda machine: machine.environment.os),
        _difference("python", base, candidate, lambda machine: machine.environment.python),
        *_package_differences(base, candidate),
    ]
    return [difference for difference in differences if difference is not None]


def format_differences(differences: Sequence[EnvironmentDifference]) -> str:
    """Format differences, such as "GPU: 1 × L4 before, 1 × T4 now; ONNX Runtime: …"."""
    return "; ".join(
        (f"{difference.name}: {difference.base} (base), {difference.candidate} (candidate)")
        for difference in differences
    )


def has_other_cpu(differences: Sequence[EnvironmentDifference]) -> bool:
    """Return True if the CPUs differ, or if nothing is known about a machine."""
    return any(difference.id in _CPU_DIFFERENCES for difference in differences)


def _hosts(machines: Sequence[Machine]) -> tuple[str, ...]:
    return tuple(sorted({machine.environment.host for machine in machines}))


def _run_differences(base: Sequence[Result], candidate: Sequence[Result]) -> Iterator[EnvironmentDifference]:
    precisions = _precisions(base), _precisions(candidate)
    searches = all(run.max_rate is not None for run in (*base, *candidate))
    is_apart = bool(precisions[0]) and bool(precisions[1]) and not precisions[0] & precisions[1]
    differences = [
        _difference("precision", base, candidate, lambda run: ", ".join(sorted(_precisions([run]))), forbids=is_apart),
        _difference("slo", base, candidate, lambda run: ", ".join(_slo(run)), forbids=searches),
        _tool_difference(base, candidate),
        _difference("profile", base, candidate, lambda run: f"{run.name} {_short_hash(run.profile_hash)}"),
        _arrivals_difference(base, candidate),
    ]
    yield from (difference for difference in differences if difference is not None)


def _tool_difference(base: Sequence[Result], candidate: Sequence[Result]) -> EnvironmentDifference | None:
    if all(run.tool.name == "sizewise" for run in (*base, *candidate)):
        return _difference("version", base, candidate, lambda run: run.tool.version)
    return _difference("tool", base, candidate, lambda run: f"{run.tool.name} {run.tool.version}")


def _difference(
    id: DifferenceId,
    base: Sequence[_T],
    candidate: Sequence[_T],
    value_of: Callable[[_T], str | None],
    *,
    forbids: bool = False,
    package: str | None = None,
) -> EnvironmentDifference | None:
    """Build a difference; None if both sides are equal. A value that one side does not report does not make runs
    incomparable."""
    before, after = _distinct_values(base, value_of), _distinct_values(candidate, value_of)
    if before == after and len(before) < 2:
        return None
    is_known = NOT_REPORTED not in before | after
    before_values, after_values = (tuple(sorted(side)) for side in (before, after))
    return EnvironmentDifference(id, before_values, after_values, forbids=forbids and is_known, package=package)


def _distinct_values(side: Sequence[_T], value_of: Callable[[_T], str | None]) -> set[str]:
    return {value_of(item) or NOT_REPORTED for item in side}


def _gpus(machine: Machine) -> str:
    counts = Counter(gpu.name for gpu in machine.environment.gpus)
    return ", ".join(f"{count} × {name}" for name, count in sorted(counts.items())) or "none"


def _power_limits(machine: Machine) -> str | None:
    gpus = machine.environment.gpus
    if any(gpu.power_limit_w is None for gpu in gpus):
        return None
    return ", ".join(sorted({f"{gpu.power_limit_w:.0f} W" for gpu in gpus})) or "none"


def _mig(machine: Machine) -> str:
    slices = Counter(instance.name for gpu in machine.environment.gpus for instance in gpu.mig)
    return ", ".join(f"{count} × {profile}" for profile, count in sorted(slices.items())) or "off"


def _driver_difference(
    base: Sequence[Machine], candidate: Sequence[Machine], *, is_measured: bool
) -> EnvironmentDifference | None:
    """Compare whole driver versions; only a different major version makes runs incomparable."""
    majors = _distinct_values(base, _driver_major) | _distinct_values(candidate, _driver_major)
    return _difference(
        "nvidia_driver",
        base,
        candidate,
        lambda machine: machine.environment.nvidia_driver,
        forbids=is_measured and len(majors) > 1,
    )


def _driver_major(machine: Machine) -> str | None:
    driver = machine.environment.nvidia_driver
    return None if driver is None else driver.partition(".")[0]


def _hardware_difference(base: Sequence[Machine], candidate: Sequence[Machine]) -> EnvironmentDifference | None:
    """Compare the hardware. Another accelerator, or another number of accelerators or replicas, makes runs
    incomparable."""
    kinds = _distinct_values(base, _hardware_kind) | _distinct_values(candidate, _hardware_kind)
    return _difference(
        "hardware",
        base,
        candidate,
        _format_hardware,
        forbids=len(kinds) > 1,
    )


def _format_hardware(machine: Machine) -> str | None:
    hardware = machine.target.hardware
    if hardware is None:
        return None
    return hardware.description if hardware.replicas == 1 else f"{hardware.replicas} replicas of {hardware.description}"


def _hardware_kind(machine: Machine) -> str | None:
    hardware = machine.target.hardware
    if hardware is None:
        return None
    return f"{hardware.accelerator} × {hardware.accelerator_count:g} × {hardware.replicas}, {hardware.offer}"


def _cores(environment: Environment) -> str:
    limit = environment.cpu_limit_cores
    return f"{environment.logical_cores}" if limit is None else f"{limit:g} of {environment.logical_cores}"


def _package_differences(
    base: Sequence[Machine], candidate: Sequence[Machine]
) -> Iterator[EnvironmentDifference | None]:
    names = sorted({name for machine in (*base, *candidate) for name in machine.environment.packages})
    for name in names:
        if not name.startswith("onnxruntime"):  # reported by the runtime itself
            yield _difference("package", base, candidate, _version_of(name), package=name)


def _version_of(package: str) -> Callable[[Machine], str | None]:
    return lambda machine: machine.environment.packages.get(package)


def _precisions(runs: Sequence[Result]) -> set[str]:
    return {stage.variant.precision for run in runs for stage in run.stages if stage.variant is not None}


def _slo(result: Result) -> list[str]:
    return [result.objective.text for result in result.slo if not result.objective.implied]


def _arrivals_difference(base: Sequence[Result], candidate: Sequence[Result]) -> EnvironmentDifference | None:
    """Compare the arrivals of stages with the same name, which are not the same stages if requests arrived
    differently."""
    before, after = _arrivals_by_stage(base), _arrivals_by_stage(candidate)
    differing = [name for name, texts in before.items() if after.get(name, texts).keys() != texts.keys()]
    if not differing:
        return None
    suffix = () if len(differing) <= _MAX_NAMED else (f"and {len(differing) - _MAX_NAMED} more",)
    before_values, after_values = (
        (*(f"{name}: {' / '.join(sorted(set(side[name].values())))}" for name in differing[:_MAX_NAMED]), *suffix)
        for side in (before, after)
    )
    return EnvironmentDifference("arrivals", before_values, after_values, forbids=True)


def _arrivals_by_stage(runs: Sequence[Result]) -> dict[str, dict[tuple[object, ...], str]]:
    """Return the arrivals of each stage: keys to compare, and the text of each.

    Arrivals of another tool, which may only be assumed, never equal those of Sizewise.
    """
    arrivals_by_stage: dict[str, dict[tuple[object, ...], str]] = {}
    for run in runs:
        is_own = run.tool.name == "sizewise"
        for place, stage in list_places(run, is_single_model=False):
            if stage.variant is None:
                key = is_own, *build_arrivals_key(stage)
                arrivals_by_stage.setdefault(place.stage_name, {})[key] = stage.arrivals or NOT_REPORTED
        if run.max_rate is not None:
            searched = arrivals_by_stage.setdefault("search", {})
            for stage in run.stages:
                if stage.kind in ("probe", "step"):
                    searched[is_own, *build_process_key(stage)] = format_search_arrivals(stage) or NOT_REPORTED
    return arrivals_by_stage


def _short_hash(text: str | None) -> str | None:
    return None if text is None else text.removeprefix("sha256:")[:12]
