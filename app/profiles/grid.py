"""How much CO2e a kWh makes where an offer stands: the mean of its country's grid, as a dated fact."""

from __future__ import annotations

from pathlib import Path

import msgspec

from app.errors import UsageError
from app.profiles.csv_rows import CsvRow, read_unique
from app.records.prices import GridIntensity


class _Place(msgspec.Struct, frozen=True):
    """A country with its intensity, or a provider's region with the country it is in."""

    key: str
    country: str
    intensity: GridIntensity | None


def load_grid(path: Path) -> dict[str, GridIntensity]:
    """By country, and by provider/region. Raises UsageError naming the file, and the line of a bad cell."""
    places = list(read_unique(path, _place))
    countries = {place.key: place.intensity for place in places if place.intensity is not None}
    unknown = next((place for place in places if place.country not in countries), None)
    if unknown is not None:
        raise UsageError(f"{path}: {unknown.key} is in {unknown.country!r}, which has no row of its own")
    return {place.key: countries[place.country] for place in places}


def _place(row: CsvRow) -> _Place:
    place, country = row.text("place"), row.text("country")
    g_co2e_per_kwh = row.number("g_co2e_per_kwh")
    if (place == country) != (g_co2e_per_kwh is not None):
        raise ValueError("g_co2e_per_kwh belongs to countries, and to each of them")
    if g_co2e_per_kwh is None:
        return _Place(place, country, None)
    return _Place(place, country, GridIntensity(country, g_co2e_per_kwh, row.date("as_of_date"), row.text("source")))
