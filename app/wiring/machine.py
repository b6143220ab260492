"""A look at this machine: what it can do, and what would spoil a measurement on it."""

from __future__ import annotations

from app.inference.probe import probe_providers
from app.records.machine import MachineFacts, Refused
from app.records.result import Check, Environment
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
