"""One row of a user's price list, from its cells."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any

from app.profiles.price_cells import (
    KEY_CELLS,
    MONTHS_A_YEAR,
    OWNED_CELLS,
    PLAIN_CELLS,
    READERS,
    CellError,
    CostShare,
    read_cell,
)
from app.profiles.problems import BadValueError, UnknownKeyError
from app.records.prices import OwnedHardware, PriceRow


def price_row(cells: Mapping[str, object], today: datetime.date) -> PriceRow:
    """Blank cells are as if they were not there; a row without a date is of today.

    Raises CellError, UnknownKeyError, and BadValueError where cells do not go together.
    """
    for cell in cells:
        if cell not in READERS:
            raise UnknownKeyError(cell, READERS, None)
    given = {cell: value for cell, value in cells.items() if value is not None and value != ""}
    for cell in KEY_CELLS:
        if cell not in given:
            raise BadValueError(f"{cell} is missing", hint="A row needs provider, instance_type and region.")
    read = {cell: read_cell(cell, value) for cell, value in given.items()}
    as_of = read.get("as_of_date", today)
    if as_of > today:
        raise CellError("as_of_date", f"{as_of} is after today, {today}")
    owned = _owned(read)
    if owned is not None and "on_demand_usd_per_hour" in read:
        raise CellError("on_demand_usd_per_hour", "an owned instance has no price of its own: its cost is worked out")
    provider, instance_type, region = (read[cell] for cell in KEY_CELLS)
    return PriceRow(
        provider=provider,
        instance_type=instance_type,
        region=region,
        as_of=as_of,
        accelerator=read.get("accelerator_key"),
        owned=owned,
        **{cell: read.get(cell) for cell in PLAIN_CELLS},
    )


def _owned(read: Mapping[str, Any]) -> OwnedHardware | None:
    stray = next((cell for cell in OWNED_CELLS if cell in read), None)
    if "capex_usd" in read and "capex" in read:
        raise CellError("capex", "stands beside capex_usd: write one of them")
    capex_usd = read.get("capex_usd", read.get("capex"))
    if capex_usd is None:
        if stray is not None:
            raise CellError(stray, "belongs to owned hardware, and capex_usd is missing")
        return None
    if "life" not in read:
        raise BadValueError("owned hardware needs its life", hint="Write it like life: 4y.")
    if ("power_w" in read) != ("tariff" in read):
        here = "power_w" if "power_w" in read else "tariff"
        raise CellError(here, "power_w and tariff go together: one of them says nothing of the electricity's cost")
    residual = _of_capex(read.get("residual", 0.0), capex_usd)
    if residual > capex_usd:
        raise CellError("residual", "is worth more than it cost")
    return OwnedHardware(
        capex_usd=capex_usd,
        life_years=read["life"],
        interest_per_year=read.get("interest", 0.0),
        residual_usd=residual,
        power_w=read.get("power_w", 0.0),
        pue=read.get("pue", 1.0),
        tariff_usd_per_kwh=read.get("tariff", 0.0),
        colo_usd_per_month=read.get("colo", 0.0),
        support_usd_per_month=_of_capex(read.get("support", 0.0), capex_usd / MONTHS_A_YEAR),
        staff_usd_per_month=read.get("staff", 0.0),
        network_usd=_of_capex(read.get("network", 0.0), capex_usd),
        availability=read.get("availability", 1.0),
        units=read.get("units"),
    )


def _of_capex(value: float, capex_usd: float) -> float:
    return value * capex_usd if isinstance(value, CostShare) else value
