"""How bursty traffic is by a stated index of dispersion, as a random factor on its rate."""

from __future__ import annotations

import msgspec

from app.records.traffic import Traffic


class Modulation(msgspec.Struct, frozen=True):
    """A gamma factor of mean 1 and this shape on the rate, drawn anew every `window_s`."""

    shape: float
    window_s: float


def modulation_of(traffic: Traffic) -> Modulation | None:
    """That which gives the traffic's index at its peak; None for Poisson's, or what is more even.

    A share answered by a cache thins requests and changes nothing of the factor.
    """
    said = traffic.dispersion
    if said.index <= 1.0:
        return None
    return Modulation(traffic.peak_per_s * said.window_s / (said.index - 1.0), said.window_s)
