"""What is not alike in two sets of runs, and whether their numbers may be compared all the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import msgspec

from app.analysis.arrivals import search_in_words
from app.analysis.comparisons.comparable import places_of
from app.records.comparison import DifferenceId, EnvironmentDifference
from app.records.result import Environment, Result, Stage, Target

NOT_TOLD = "n/a"
_OTHER_CPU: tuple[DifferenceId, ...] = ("cpu", "cores", "machine")
_LOOPBACK = ("//127.", "//localhost", "//[::1]")
_MOST_NAMED = 3
_T = TypeVar("_T")


class Machine(msgspec.Struct, frozen=True):
    """What is known of a run before it is made."""

    environment: Environment
    target: Target
    workload_hash: str | None

    @property
    def is_measured(self) -> bool:
        """Whether the target runs on it, as far as the profile tells: else it only sends the load."""
        hardware, urls = self.target.hardware, self.target.urls
        is_near = not urls or any(host in url for host in _LOOPBACK for url in urls)
        return is_near or hardware is None or hardware.is_this_machine


def machine_of(result: Result) -> Machine:
    return Machine(result.environment, result.target, result.workload_hash)


def differences_of(base: Sequence[Result], candidate: Sequence[Result]) -> tuple[EnvironmentDifference, ...]:
    """Those that forbid first."""
    found = [
        *machine_differences([machine_of(run) for run in base], [machine_of(run) for run in candidate]),
        *_of_runs(base, candidate),
    ]
    return tuple(sorted(found, key=lambda one: not one.forbids))


def machine_differences(base: Sequence[Machine], candidate: Sequence[Machine]) -> list[EnvironmentDifference]:
    """GPUs, driver and runtime forbid only where the target runs on them, and not where they but send the load."""
    if any(one.environment.fingerprint == NOT_TOLD for one in (*base, *candidate)):  # another tool's, which tells none
        return [EnvironmentDifference("machine", _hosts(base), _hosts(candidate), forbids=False)]
    is_measured = any(one.is_measured for one in (*base, *candidate))
    told: list[EnvironmentDifference | None] = [
        _difference("gpu", base, candidate, _gpus, forbids=is_measured),
        _difference("gpu_power_limit", base, candidate, _power_limits, forbids=is_measured),
        _difference("mig", base, candidate, _mig, forbids=is_measured),
        _driver(base, candidate, is_measured=is_measured),
        _difference("onnxruntime", base, candidate, lambda one: one.environment.onnxruntime, forbids=is_measured),
        _difference("workload", base, candidate, lambda one: _short(one.workload_hash), forbids=True),
        _hardware(base, candidate),
        _difference("target", base, candidate, lambda one: ", ".join(one.target.urls) or one.target.protocol),
        _difference("model", base, candidate, lambda one: one.target.model),
        _difference("cpu", base, candidate, lambda one: one.environment.cpu_model),
        _difference("cores", base, candidate, lambda one: _cores(one.environment)),
        _difference("cpu_governor", base, candidate, lambda one: one.environment.cpu_governor),
        _difference("memory", base, candidate, lambda one: f"{one.environment.memory_gib:.0f} GiB"),
        _difference("os", base, candidate, lambda one: one.environment.os),
        _difference("python", base, candidate, lambda one: one.environment.python),
        *_packages(base, candidate),
    ]
    return [one for one in told if one is not None]


def differences_in_words(differences: Sequence[EnvironmentDifference]) -> str:
    """As in "GPU: 1 × L4 before, 1 × T4 now; ONNX Runtime: …"."""
    return "; ".join(f"{one.name}: {one.base} before, {one.candidate} now" for one in differences)


def is_other_cpu(differences: Sequence[EnvironmentDifference]) -> bool:
    """Or a machine of which nothing is known."""
    return any(one.id in _OTHER_CPU for one in differences)


def _hosts(machines: Sequence[Machine]) -> tuple[str, ...]:
    return tuple(sorted({one.environment.host for one in machines}))


def _of_runs(base: Sequence[Result], candidate: Sequence[Result]) -> Iterator[EnvironmentDifference]:
    precisions = _precisions(base), _precisions(candidate)
    searches = all(run.max_rate is not None for run in (*base, *candidate))
    is_apart = bool(precisions[0]) and bool(precisions[1]) and not precisions[0] & precisions[1]
    told = [
        _difference("precision", base, candidate, lambda run: ", ".join(sorted(_precisions([run]))), forbids=is_apart),
        _difference("slo", base, candidate, lambda run: ", ".join(_slo(run)), forbids=searches),
        _tools(base, candidate),
        _difference("profile", base, candidate, lambda run: f"{run.name} {_short(run.profile_hash)}"),
        _arrivals(base, candidate),
    ]
    yield from (one for one in told if one is not None)


def _tools(base: Sequence[Result], candidate: Sequence[Result]) -> EnvironmentDifference | None:
    if all(run.tool.name == "sizewise" for run in (*base, *candidate)):
        return _difference("version", base, candidate, lambda run: run.tool.version)
    return _difference("tool", base, candidate, lambda run: f"{run.tool.name} {run.tool.version}")


def _difference(
    id: DifferenceId,
    base: Sequence[_T],
    candidate: Sequence[_T],
    told: Callable[[_T], str | None],
    *,
    forbids: bool = False,
    package: str | None = None,
) -> EnvironmentDifference | None:
    """None where they are alike. What one side does not tell forbids nothing."""
    before, after = _all(base, told), _all(candidate, told)
    if before == after and len(before) < 2:
        return None
    is_known = NOT_TOLD not in before | after
    values, now = (tuple(sorted(side)) for side in (before, after))
    return EnvironmentDifference(id, values, now, forbids=forbids and is_known, package=package)


def _all(side: Sequence[_T], told: Callable[[_T], str | None]) -> set[str]:
    return {told(one) or NOT_TOLD for one in side}


def _gpus(machine: Machine) -> str:
    counts = Counter(gpu.name for gpu in machine.environment.gpus)
    return ", ".join(f"{count} × {name}" for name, count in sorted(counts.items())) or "none"


def _power_limits(machine: Machine) -> str | None:
    gpus = machine.environment.gpus
    if any(gpu.power_limit_w is None for gpu in gpus):
        return None
    return ", ".join(sorted({f"{gpu.power_limit_w:.0f} W" for gpu in gpus})) or "none"


def _mig(machine: Machine) -> str:
    slices = Counter(one.name for gpu in machine.environment.gpus for one in gpu.mig)
    return ", ".join(f"{count} × {profile}" for profile, count in sorted(slices.items())) or "off"


def _driver(
    base: Sequence[Machine], candidate: Sequence[Machine], *, is_measured: bool
) -> EnvironmentDifference | None:
    """Of the whole version; only another major one forbids."""
    majors = _all(base, _driver_major) | _all(candidate, _driver_major)
    return _difference(
        "nvidia_driver",
        base,
        candidate,
        lambda one: one.environment.nvidia_driver,
        forbids=is_measured and len(majors) > 1,
    )


def _driver_major(machine: Machine) -> str | None:
    driver = machine.environment.nvidia_driver
    return None if driver is None else driver.partition(".")[0]


def _hardware(base: Sequence[Machine], candidate: Sequence[Machine]) -> EnvironmentDifference | None:
    """Of another accelerator, or another number of them or of replicas, nothing may be compared."""
    kinds = _all(base, _hardware_kind) | _all(candidate, _hardware_kind)
    return _difference(
        "hardware",
        base,
        candidate,
        _hardware_told,
        forbids=len(kinds) > 1,
    )


def _hardware_told(machine: Machine) -> str | None:
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


def _packages(base: Sequence[Machine], candidate: Sequence[Machine]) -> Iterator[EnvironmentDifference | None]:
    names = sorted({name for one in (*base, *candidate) for name in one.environment.packages})
    for name in names:
        if not name.startswith("onnxruntime"):  # told by what runs
            yield _difference("package", base, candidate, _version_of(name), package=name)


def _version_of(package: str) -> Callable[[Machine], str | None]:
    return lambda machine: machine.environment.packages.get(package)


def _precisions(runs: Sequence[Result]) -> set[str]:
    return {stage.variant.precision for run in runs for stage in run.stages if stage.variant is not None}


def _slo(result: Result) -> list[str]:
    return [one.objective.text for one in result.slo if not one.objective.implied]


def _arrivals(base: Sequence[Result], candidate: Sequence[Result]) -> EnvironmentDifference | None:
    """Of stages of one name, which are not the same where requests came otherwise."""
    before, after = _arrivals_by_stage(base), _arrivals_by_stage(candidate)
    other = [name for name, told in before.items() if after.get(name, told) != told]
    if not other:
        return None
    more = () if len(other) <= _MOST_NAMED else (f"and {len(other) - _MOST_NAMED} more",)
    values, now = (
        (*(f"{name}: {' / '.join(sorted(side[name]))}" for name in other[:_MOST_NAMED]), *more)
        for side in (before, after)
    )
    return EnvironmentDifference("arrivals", values, now, forbids=True)


def _arrivals_by_stage(runs: Sequence[Result]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for run in runs:
        for place, stage in places_of(run, one_model=False):
            if stage.variant is None:
                found.setdefault(place.stage, set()).add(_how(stage))
        if run.max_rate is not None:
            tried = [stage for stage in run.stages if stage.kind in ("probe", "hold")]
            found.setdefault("search", set()).update(search_in_words(stage) or NOT_TOLD for stage in tried)
    return found


def _how(stage: Stage) -> str:
    return stage.arrivals or NOT_TOLD


def _short(text: str | None) -> str | None:
    return None if text is None else text.removeprefix("sha256:")[:12]
