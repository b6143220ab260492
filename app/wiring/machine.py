"""A look at this machine: what it can do, and what would spoil a measurement on it.

The sampler of a run: this machine, its GPUs of any make, and the pages that the profile names.
"""

from __future__ import annotations

from pathlib import Path

from app.errors import UsageError
from app.inference.probe import probe_providers
from app.profiles.profile import Profile
from app.profiles.secrets import resolve_secret
from app.profiles.telemetry import ScrapeSettings
from app.records.machine import MachineFacts, Refused
from app.records.result import Check, Environment
from app.storage.file_systems import MOUNTS, network_mount
from app.telemetry.amd import amd_readers
from app.telemetry.environment import read_environment
from app.telemetry.machine_checks import machine_checks
from app.telemetry.sampler import Sampler
from app.telemetry.scrape import Scraper
from app.wiring.endpoint import require_permission
from app.wiring.secret_consent import require_allowed
from loadgen.transport.address import EndpointError


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


def sampler_of(profile: Profile) -> Sampler:
    """Raises UsageError and UnavailableError; samples nothing yet."""
    require_allowed(profile)
    return Sampler(others=(*amd_readers(), *(_scraper(one) for one in profile.telemetry)))


def _scraper(one: ScrapeSettings) -> Scraper:
    if not one.permitted:
        require_permission((one.scrape,), key=f"permitted of {one.name} in telemetry")
    headers = tuple((name, resolve_secret(text)) for name, text in one.headers.items())
    try:
        return Scraper(one.scrape, source=one.name, labels=one.labels, interval_s=one.interval_s, headers=headers)
    except EndpointError as error:
        raise UsageError(f"telemetry: {one.scrape} cannot be scraped: {error}") from error
