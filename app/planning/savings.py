"""What an optimisation would save: the same sizing, before and after a change of the capacity or of the traffic."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

from app.records.estimate import Basis

_SURENESS: tuple[Basis, ...] = ("measured", "interpolated", "extrapolated", "assumed")


class WhatIfChange(msgspec.Struct, frozen=True):
    """`capacity_factor` is on what one replica carries, `traffic_factor` on the requests that reach the fleet;
    `headroom_factor` is on the replicas kept for what comes while another starts. `because` tells what it rests on."""

    name: str
    basis: Basis
    because: str
    capacity_factor: float = 1.0
    traffic_factor: float = 1.0
    headroom_factor: float = 1.0
    extra_usd_per_month: float = 0.0
    """What the change itself costs: a cache, a warm pool."""


class Size(msgspec.Struct, frozen=True):
    """A fleet as the sizing gives it; None where nothing fits."""

    replicas: int | None
    usd_per_month: float | None


class WhatIfSaving(msgspec.Struct, frozen=True):
    """USD a month, negative where the change costs more than it saves; None where either side has no fleet."""

    change: WhatIfChange
    before: Size
    after: Size
    usd_per_month: float | None
    share: float | None


Sizing = Callable[[WhatIfChange], Size]
"""Sizes the fleet as it would be with the change; the extra cost is added here, not there."""
NO_CHANGE = WhatIfChange("as it is", "measured", "nothing is changed")


def savings(changes: Iterable[WhatIfChange], size: Sizing) -> tuple[WhatIfSaving, ...]:
    """Each change by itself, the one that saves most first; unknown ones last."""
    before = size(NO_CHANGE)
    found = [_saving(change, before, size(change)) for change in changes]
    return tuple(sorted(found, key=lambda one: (one.usd_per_month is None, -(one.usd_per_month or 0), one.change.name)))


def together(changes: Iterable[WhatIfChange]) -> WhatIfChange:
    """All of them at once: factors multiply, as if each left the others' effect alone; as sure as the least sure."""
    listed = tuple(changes)
    whole = NO_CHANGE
    for change in listed:
        whole = msgspec.structs.replace(
            whole,
            basis=max(whole.basis, change.basis, key=_SURENESS.index),
            capacity_factor=whole.capacity_factor * change.capacity_factor,
            traffic_factor=whole.traffic_factor * change.traffic_factor,
            headroom_factor=whole.headroom_factor * change.headroom_factor,
            extra_usd_per_month=whole.extra_usd_per_month + change.extra_usd_per_month,
        )
    names = " + ".join(change.name for change in listed)
    if len(listed) > 1 and whole.basis == "measured":
        whole = msgspec.structs.replace(whole, basis="extrapolated")  # each was measured, but not beside the others
    return msgspec.structs.replace(whole, name=names or whole.name, because="; ".join(one.because for one in listed))


def faster_variant(name: str, per_s: float, than_per_s: float, basis: Basis = "measured") -> WhatIfChange:
    """A precision, a batching window or a smaller model that carries `per_s` where the present carries `than_per_s`."""
    factor = per_s / than_per_s
    return WhatIfChange(name, basis, f"{factor:.2f} × the present rate inside the SLO, {basis}", capacity_factor=factor)


def caching(hit_share: float, basis: Basis = "assumed", usd_per_month: float = 0.0) -> WhatIfChange:
    """Answers of a cache do not reach the fleet."""
    because = f"{hit_share:.0%} of the requests answered by a cache, {basis}"
    return WhatIfChange("caching", basis, because, traffic_factor=1 - hit_share, extra_usd_per_month=usd_per_month)


def warm_pool(
    warm_start_s: float, cold_start_s: float, basis: Basis = "assumed", usd_per_month: float = 0.0
) -> WhatIfChange:
    """The replicas kept for a rise of the traffic are as many as the rise fills while the next one starts."""
    factor = warm_start_s / cold_start_s
    because = f"a replica starts in {warm_start_s:g} s, not {cold_start_s:g} s, {basis}"
    return WhatIfChange("warm pool", basis, because, headroom_factor=factor, extra_usd_per_month=usd_per_month)


def _saving(change: WhatIfChange, before: Size, after: Size) -> WhatIfSaving:
    if after.usd_per_month is not None:
        after = msgspec.structs.replace(after, usd_per_month=after.usd_per_month + change.extra_usd_per_month)
    if before.usd_per_month is None or after.usd_per_month is None:
        return WhatIfSaving(change, before, after, None, None)
    saved = before.usd_per_month - after.usd_per_month
    return WhatIfSaving(change, before, after, saved, saved / before.usd_per_month if before.usd_per_month else None)
