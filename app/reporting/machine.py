"""The environment as labelled facts."""

from __future__ import annotations

from app.records.result import Environment, Gpu, Result
from app.reporting.workers import who_sent
from reports import formatting, model


def environment_facts(result: Result) -> tuple[model.Fact, ...]:
    """What the machine is; an unknown is a fact without a value."""
    machine = result.environment
    facts = {
        "Host": machine.host,
        "Operating system": machine.os,
        "CPU": machine.cpu_model,
        "CPU architecture": machine.cpu_architecture,
        "Cores": _cores(machine),
        "CPU governor": machine.cpu_governor,
        "Memory": f"{formatting.number(machine.memory_gib)} GiB",
        "GPUs": ", ".join(_gpu(gpu) for gpu in machine.gpus) or "none",
        "NVIDIA driver": machine.nvidia_driver,
        "ONNX Runtime": machine.onnxruntime,
        "Providers that opened a session": ", ".join(machine.providers) or None,
        "Python": machine.python,
        "Packages": ", ".join(f"{name} {version}" for name, version in sorted(machine.packages.items())) or None,
        "Clock resolution": f"{machine.clock_resolution_ns} ns",
        "Fingerprint": machine.fingerprint,
        **_sender_facts(result),
        **_target_facts(result),
    }
    return tuple(model.Fact(label=label, value=value) for label, value in facts.items())


def _sender_facts(result: Result) -> dict[str, str]:
    who = who_sent(result.stages)
    return {} if who is None else {"Load sent by": who}


def _target_facts(result: Result) -> dict[str, str]:
    hardware = result.target.hardware
    if hardware is None:
        return {"Measured on": "not told by the profile"}
    replicas = "1 replica" if hardware.replicas == 1 else f"{hardware.replicas} replicas"
    return {"Measured on": f"{hardware.description}, {replicas}"}


def _cores(machine: Environment) -> str:
    physical = formatting.NOT_AVAILABLE if machine.physical_cores is None else str(machine.physical_cores)
    cores = f"{physical} physical, {machine.logical_cores} logical"
    if machine.cpu_limit_cores is None:
        return cores
    return f"{cores}, limited to {formatting.plain(machine.cpu_limit_cores)}"


def _gpu(gpu: Gpu) -> str:
    memory = "memory n/a" if gpu.memory_gib is None else f"{formatting.number(gpu.memory_gib)} GiB"
    power = "power limit n/a" if gpu.power_limit_w is None else f"{formatting.number(gpu.power_limit_w)} W"
    identity = f", id {gpu.uuid_hash}" if gpu.uuid_hash else ""
    return f"{gpu.index}: {gpu.name} ({memory}, {power}{identity})"
