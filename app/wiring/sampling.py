"""The sampler of a run: this machine, its GPUs of any make, and the pages that the profile names."""

from __future__ import annotations

from app.errors import UsageError
from app.profiles.profile import Profile
from app.profiles.secrets import resolve_secret
from app.profiles.telemetry import ScrapeSettings
from app.telemetry.amd import amd_readers
from app.telemetry.sampler import Sampler
from app.telemetry.scrape import Scraper
from app.wiring.endpoint import require_permission
from app.wiring.secret_consent import require_allowed
from loadgen.transport.address import EndpointError


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
