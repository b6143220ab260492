"""Power, energy, its cost and its carbon of a fleet over a month.

A number is measured where the power was, else assumed from the part's TDP. The month is the mean one of 730 hours.
"""

from __future__ import annotations

import msgspec

from app.planning.costs import SECONDS_AN_HOUR, THOUSAND
from app.planning.sizing import HOURS_A_MONTH
from app.records.estimate import Basis, Estimate
from app.records.offers import Accelerator
from app.records.prices import GridIntensity

ASSUMED_IDLE_SHARE = 0.2
"""Of the TDP, with a model loaded and nothing to do: cards differ between 0.1 and 0.3."""
ASSUMED_PUE = 1.2
"""Large clouds publish 1.1 to 1.2; a machine room of one's own is nearer to 1.5."""


class PowerLine(msgspec.Struct, frozen=True):
    """W(u) = idle + (max − idle) × u of one accelerator, u the share of the time it is busy."""

    idle_w: float
    max_w: float
    basis: Basis

    def at(self, utilisation: float) -> float:
        return self.idle_w + (self.max_w - self.idle_w) * min(1.0, max(0.0, utilisation))


class Site(msgspec.Struct, frozen=True):
    """Where the fleet stands. `tariff_usd_per_kwh` is None where the rent pays for the electricity."""

    pue: float = ASSUMED_PUE
    tariff_usd_per_kwh: float | None = None
    grid: GridIntensity | None = None


class EnergyBill(msgspec.Struct, frozen=True):
    """At the meter, the PUE in it; `mean_w` is before it. Making the hardware is not in the carbon."""

    mean_w: Estimate
    kwh_per_month: Estimate
    usd_per_month: Estimate
    kg_co2e_per_month: Estimate
    wh_per_1k_inferences: Estimate


def power_line(part: Accelerator | None, idle_w: float | None = None, max_w: float | None = None) -> PowerLine | None:
    """Measured where both ends are; what is not comes from the catalogue. None where nothing tells the most."""
    most = max_w if max_w is not None else None if part is None else part.tdp_w
    if most is None:
        return None
    basis: Basis = "assumed" if idle_w is None or max_w is None else "measured"
    return PowerLine(most * ASSUMED_IDLE_SHARE if idle_w is None else min(idle_w, most), most, basis)


def fleet_power(line: PowerLine | None, accelerators: float, utilisation: float, host_w: float = 0.0) -> Estimate:
    """Mean watts of the whole fleet; `host_w` is that of everything in it which is no accelerator."""
    if line is None:
        return _unknown("neither a measured power nor a TDP is known")
    return Estimate(line.at(utilisation) * accelerators + host_w, basis=line.basis)


def power_of_inferences(
    above_idle_j: Estimate, per_s: float, idle_w: Estimate, accelerators: float, host_w: float = 0.0
) -> Estimate:
    """Mean watts from what one inference was measured to take above idle, and what one accelerator idles at."""
    if above_idle_j.value is None or idle_w.value is None:
        return _unknown(above_idle_j.reason or idle_w.reason or "the energy of an inference was not measured")
    basis: Basis = "measured" if above_idle_j.basis == idle_w.basis == "measured" else "assumed"
    low_high = None
    idle = idle_w.value * accelerators + host_w
    if above_idle_j.ci95 is not None:
        low_high = (idle + above_idle_j.ci95[0] * per_s, idle + above_idle_j.ci95[1] * per_s)
    return Estimate(idle + above_idle_j.value * per_s, low_high, basis=basis)


def energy_bill(mean_w: Estimate, site: Site, mean_per_s: float) -> EnergyBill:
    """A month at this power, for so many inferences a second in the mean."""
    kwh = _times(mean_w, site.pue * HOURS_A_MONTH / 1000)
    thousands = mean_per_s * HOURS_A_MONTH * SECONDS_AN_HOUR / THOUSAND
    return EnergyBill(
        mean_w=mean_w,
        kwh_per_month=kwh,
        usd_per_month=_times(kwh, site.tariff_usd_per_kwh, "no tariff is given: a rented instance's price includes it"),
        kg_co2e_per_month=_times(
            kwh, None if site.grid is None else site.grid.g_co2e_per_kwh / 1000, "the region's grid is not known"
        ),
        wh_per_1k_inferences=_times(kwh, 1000 / thousands if thousands > 0 else None, "the traffic has no requests"),
    )


def _times(estimate: Estimate, factor: float | None, otherwise: str = "") -> Estimate:
    if estimate.value is None:
        return estimate
    if factor is None:
        return _unknown(otherwise)
    ends = None if estimate.ci95 is None else (estimate.ci95[0] * factor, estimate.ci95[1] * factor)
    return Estimate(estimate.value * factor, ends, basis=estimate.basis)


def _unknown(reason: str) -> Estimate:
    return Estimate(None, basis="assumed", reason=reason)
