"""Risk that the numbers of a fleet are wrong, from 0 to 4. The risk is the highest level of all
causes.

| level | causes |
|---|---|
| 0 | measured on this offer, price at most 30 days old, with a spare instance |
| 1 | the same accelerator in another instance type; a price over 30 days old or from an aggregator; no spare |
| 2 | another CPU or accelerator of the same architecture; fewer vCPUs per replica than measured; a price over 90 days \
old; a spot price |
| 3 | another or unknown architecture; an assumed curve; a marketplace or manual price; a price over a year old |
| 4 | a price over two years old |
"""

from __future__ import annotations

import datetime
import math

import msgspec

from app.records.checks import Check
from app.records.offers import Offer
from app.records.price_layouts import LAYOUTS

_LOW_TRUST_SOURCES = frozenset(("sky-v9-copy", "sky-v8-old", "sky-v9-old", "cloud-gpus"))
_FAIR_TRUST_SOURCES = frozenset((
    "sky-v8", "sky-v8-pergpu", "sky-v8-shadeform", "gpuhunt-tpu",
    *(layout.id for layout in LAYOUTS if layout.is_collected),
))  # fmt: skip


FRESH_PRICE_DAYS = 30
"""Age of a price in days up to which it counts as current: it carries no risk, and its drift is 0."""
MAX_PRICE_AGE_DAYS = 90
"""Age of a price in days above which an offer is recommended only with a warning."""
PRICE_DRIFT_PER_YEAR = 0.2
"""Assumed standard deviation of the log price for a price that is one year old. The standard
deviation grows with the square root of the age beyond FRESH_PRICE_DAYS."""
_AGE_LEVELS = ((730, 4), (365, 3), (MAX_PRICE_AGE_DAYS, 2), (FRESH_PRICE_DAYS, 1))


class Risk(msgspec.Struct, frozen=True):
    """Reason why a number may be wrong, with its level from 0 to 4."""

    level: int
    reason: str


def compute_price_age_days(offer: Offer, today: datetime.date) -> int:
    return max(0, (today - offer.as_of).days)


def compute_price_sigma(offer: Offer, today: datetime.date) -> float:
    """Return the assumed uncertainty of a price, given its age and source, as the standard
    deviation of the log price.

    Prices of the same instance type changed by tens of percent within a year
    (`profiles/hardware/README.md`).
    """
    source = offer.sources[0]
    source_sigma = 0.15 if source in _LOW_TRUST_SOURCES else 0.05 if source in _FAIR_TRUST_SOURCES else 0.0
    drift_days = max(0, compute_price_age_days(offer, today) - FRESH_PRICE_DAYS)
    drift_sigma = PRICE_DRIFT_PER_YEAR * math.sqrt(drift_days / 365)
    return math.hypot(source_sigma, drift_sigma)


def is_low_trust(offer: Offer) -> bool:
    """Return whether the on-demand price comes from a low-trust source. Of several sources, only
    the first counts."""
    return offer.sources[0] in _LOW_TRUST_SOURCES


def check_price(offer: Offer, today: datetime.date) -> tuple[Check, ...]:
    """Return a warning if the price of a recommended offer is older than MAX_PRICE_AGE_DAYS;
    otherwise return an empty tuple.

    Owned hardware has no list price, so there is no warning about its age.
    """
    age_days = compute_price_age_days(offer, today)
    if age_days <= MAX_PRICE_AGE_DAYS or offer.owned is not None:
        return ()
    hint = (
        f"The price of {offer.key} is from {offer.as_of}. Update it with `sizewise offers update CATALOG` or `sizewise "
        "offers import FILE`, or plan with `--set price.OFFER=USD/h`. The cost interval includes a price drift of "
        f"{100 * PRICE_DRIFT_PER_YEAR:.0f} % per year (one sigma). `--set plan.max_price_age={MAX_PRICE_AGE_DAYS}d` "
        "excludes older prices."
    )
    return (Check("price_age", age_days, MAX_PRICE_AGE_DAYS, "d", "WARN", hint),)


def list_price_risks(offer: Offer, today: datetime.date) -> tuple[Risk, ...]:
    risks = []
    age_days = compute_price_age_days(offer, today)
    level = next((level for days, level in _AGE_LEVELS if age_days > days), 0)
    if level == 1:
        risks.append(Risk(level, f"the price is {age_days} days old"))
    elif level > 1:
        risks.append(Risk(level, f"the price is {age_days} days old (from {offer.as_of}); check it before you decide"))
    # of several sources, the first one is that of the on-demand price
    source = offer.sources[0]
    if source in _LOW_TRUST_SOURCES:
        reason = "the price comes from a marketplace or a manually maintained list; availability is not guaranteed"
        risks.append(Risk(3, reason))
    elif source in _FAIR_TRUST_SOURCES:
        risks.append(Risk(1, "the price comes from an aggregator's list"))
    return tuple(risks)
