from __future__ import annotations

from pathlib import Path

import pytest

from app.errors import UsageError
from app.profiles.catalogue import bundled_catalogue, find_offer
from app.profiles.grid import load_grid

HEAD = "place,country,g_co2e_per_kwh,as_of_date,source\n"


def test_every_region_of_the_catalogue_has_a_grid_or_is_anywhere() -> None:
    catalogue = bundled_catalogue()
    without = {offer.region for offer in catalogue.offers if catalogue.grid_of(offer) is None}
    assert without == {"any"}
    frankfurt = catalogue.grid_of(find_offer(catalogue, "aws/g6.xlarge@eu-central-1"))
    assert frankfurt is not None
    assert frankfurt.country == "DE"
    assert 200 < frankfurt.g_co2e_per_kwh < 600
    assert frankfurt.as_of.year >= 2022


def test_no_row_is_of_a_region_that_is_not_there() -> None:
    catalogue = bundled_catalogue()
    known = {f"{offer.provider}/{offer.region}" for offer in catalogue.offers}
    assert {place for place in catalogue.grid if "/" in place} <= known


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ("aws/x,DE,,,\n", "aws/x is in 'DE', which has no row"),
        ("DE,DE,,,\n", ":2: g_co2e_per_kwh belongs to countries"),
        ("aws/x,DE,400,2023-12-31,s\n", ":2: g_co2e_per_kwh belongs to countries"),
        ("DE,DE,-1,2023-12-31,s\n", ":2: g_co2e_per_kwh is not a number"),
        ("DE,DE,400,2023,s\n", ":2: as_of_date"),
        ("DE,DE,400,2023-12-31,s\nDE,DE,400,2023-12-31,s\n", ":3: DE stands here a second time"),
    ],
)
def test_a_wrong_row_is_told(tmp_path: Path, rows: str, says: str) -> None:
    path = tmp_path / "grid.csv"
    path.write_text(HEAD + rows)
    with pytest.raises(UsageError) as caught:
        load_grid(path)
    assert says in str(caught.value)
