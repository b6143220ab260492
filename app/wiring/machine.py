"""A look at this machine: what it can do, and what would spoil a measurement on it."""

from __future__ import annotations

from pathlib import Path

from app.inference.probe import probe_providers
from app.records.machine import MachineFacts, Refused
from app.records.result import Check, Environment
from app.storage.file_systems import MOUNTS, network_mount
from app.telemetry.environment import read_environment
from app.telemetry.machine_checks import machine_checks


def look_at_machine() -> MachineFacts:
    """Takes a second or two: providers are tried in a child. Raises InstrumentError where that child crashes."""
    probe = probe_providers()
    environment = read_environment(probe.working, probe.runtime_version)
    refused = tuple(Refused(one.provider, one.reason) for one in probe.refused)
    return MachineFacts(environment, machine_checks(environment), refused)


def inspect_machine() -> tuple[Environment, tuple[Check, ...]]:
    facts = look_at_machine()
    return facts.environment, facts.checks


def inspect_for_run(run_directory: Path) -> tuple[Environment, tuple[Check, ...]]:
    """The machine, and the directory that the run is written to."""
    environment, checks = inspect_machine()
    return environment, (*checks, *directory_checks(run_directory))


def directory_checks(run_directory: Path, mounts: Path = MOUNTS) -> tuple[Check, ...]:
    """A WARN for a directory on a network file system; nothing for a local one."""
    mount = network_mount(run_directory, mounts)
    if mount is None:
        return ()
    hint = "A share that stalls delays the run, and rows on it may be lost: choose an --out on a local disk."
    return (Check("run_directory", f"on {mount.kind} at {mount.mount_point}", None, None, "WARN", hint),)
