"""A user's rows over the catalogue's offers. What is the user's stays known as such, cell by cell."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from app.errors import UsageError
from app.profiles.architecture import cpu_architecture
from app.profiles.price_cells import CellError
from app.profiles.problems import BadValueError, did_you_mean
from app.records.offers import Catalogue, Offer
from app.records.prices import Override, PriceRow

YOURS = "yours"
"""The source of a user's figure."""
NO_ACCELERATOR = "none"
_PRICES = ("on_demand_usd_per_hour", "spot_usd_per_hour", "reserved_1y_usd_per_hour")
_CELLS = ("accelerator", "accelerator_count", "vcpus", "memory_gib", *_PRICES, "cpu_architecture")


def merge_offers(catalogue: Catalogue, rows: Iterable[PriceRow]) -> Catalogue:
    """The catalogue with the rows over it: those of a known key change its cells, others are offers of their own.

    Raises UsageError naming the row that makes no offer.
    """
    offers = {offer.key: offer for offer in catalogue.offers}
    grid = dict(catalogue.grid)
    for row in rows:
        try:
            offers[row.key] = merged_offer(offers.get(row.key), row, catalogue)
        except BadValueError as error:
            raise UsageError(f"your price of {row.key}: {error}", hint=error.hint) from error
        if row.country is not None:
            grid[f"{row.provider}/{row.region}"] = catalogue.grid[row.country]
    return msgspec.structs.replace(catalogue, offers=tuple(offers.values()), grid=grid)


def merged_offer(offer: Offer | None, row: PriceRow, catalogue: Catalogue) -> Offer:
    """Raises BadValueError where the two together are no offer."""
    _check_names(row, catalogue)
    merged = _new(row) if offer is None else _changed(offer, row)
    if (merged.accelerator_count > 0) != (merged.accelerator is not None):
        key = merged.accelerator or NO_ACCELERATOR
        raise CellError("accelerator_count", f"{merged.accelerator_count:g} does not go with accelerator_key {key!r}")
    return merged


def _check_names(row: PriceRow, catalogue: Catalogue) -> None:
    if row.accelerator not in (None, NO_ACCELERATOR, *catalogue.accelerators):
        hint = did_you_mean(str(row.accelerator), (NO_ACCELERATOR, *catalogue.accelerators))
        raise CellError("accelerator_key", f"{row.accelerator!r} is not in the catalogue", hint)
    if row.country is not None and (row.country not in catalogue.grid or "/" in row.country):
        raise CellError("country", f"{row.country!r} is not in the grid's table", "Write its code, such as DE.")


def _new(row: PriceRow) -> Offer:
    if row.accelerator is None:
        hint = "Write an accelerator_key, or none for a CPU; to change a known offer, write its key as it is."
        raise BadValueError(f"{row.key} is not in the catalogue, so it lacks accelerator_key", hint=hint)
    if row.owned is None and all(getattr(row, price) is None for price in _PRICES):
        raise BadValueError(f"{row.key} is not in the catalogue and has no price")
    accelerator = None if row.accelerator == NO_ACCELERATOR else row.accelerator
    counted = 1.0 if accelerator is not None else 0.0
    return Offer(
        provider=row.provider,
        instance_type=row.instance_type,
        region=row.region,
        accelerator=accelerator,
        accelerator_count=counted if row.accelerator_count is None else row.accelerator_count,
        vcpus=row.vcpus,
        memory_gib=row.memory_gib,
        on_demand_usd_per_hour=row.on_demand_usd_per_hour,
        spot_usd_per_hour=row.spot_usd_per_hour,
        reserved_1y_usd_per_hour=row.reserved_1y_usd_per_hour,
        as_of=row.as_of,
        source=YOURS,
        cpu_architecture=row.cpu_architecture or cpu_architecture(row.provider, row.instance_type, accelerator),
        overrides=tuple(Override(cell, None, row.as_of) for cell in _given(row)),
        owned=row.owned,
    )


def _changed(offer: Offer, row: PriceRow) -> Offer:
    given = _given(row)
    changes = {cell: getattr(row, cell) for cell in given}
    if changes.get("accelerator") == NO_ACCELERATOR:
        changes["accelerator"] = None
    if row.owned is not None:
        changes |= {"owned": row.owned, "on_demand_usd_per_hour": None}
    is_new_price = row.on_demand_usd_per_hour is not None or row.owned is not None
    if row.on_demand_usd_per_hour is not None:
        changes["owned"] = None
    earlier = {override.cell: override for override in offer.overrides}
    overrides = earlier | {
        cell: Override(cell, earlier[cell].was if cell in earlier else getattr(offer, cell), row.as_of)
        for cell in given
    }
    return msgspec.structs.replace(
        offer,
        **changes,
        as_of=row.as_of if is_new_price else offer.as_of,
        source=_source(offer.source, is_new_price) if given or row.owned is not None else offer.source,
        overrides=tuple(overrides.values()),
    )


def _given(row: PriceRow) -> tuple[str, ...]:
    return tuple(cell for cell in _CELLS if getattr(row, cell) is not None)


def _source(source: str, is_new_price: bool) -> str:
    """The first of several sources is that of the on-demand price."""
    parts = source.split("+")
    others = [part for part in parts if part != YOURS]
    leads = is_new_price or parts[0] == YOURS
    return "+".join([YOURS, *others] if leads else [*others, YOURS])
