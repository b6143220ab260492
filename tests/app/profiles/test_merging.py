from __future__ import annotations

import datetime
from typing import Any

import pytest

from app.errors import UsageError
from app.profiles.merging import merge_offers
from app.records.offers import Offer
from app.records.prices import GridIntensity, Override, OwnedHardware, PriceRow
from tests.fakes.offers import TODAY, catalogue, gpu_offer, offer

LATER = datetime.date(2026, 9, 1)
LATEST = datetime.date(2026, 10, 1)
OWNED = OwnedHardware(capex_usd=1000, life_years=4)


def row(instance_type: str = "c16", **changes: Any) -> PriceRow:
    fields: dict[str, Any] = {"provider": "acme", "instance_type": instance_type, "region": "here", "as_of": LATER}
    return PriceRow(**(fields | changes))


def merged(*rows: PriceRow, of: Offer | None = None) -> Offer:
    return merge_offers(catalogue(of or offer()), rows).offers[0]


def test_only_the_cells_that_are_given_change() -> None:
    found = merged(row(on_demand_usd_per_hour=0.9))
    assert found.on_demand_usd_per_hour == 0.9
    assert (found.vcpus, found.memory_gib, found.spot_usd_per_hour) == (16, 32, None)
    assert found.overrides == (Override("on_demand_usd_per_hour", 1.0, LATER),)
    assert (found.as_of, found.source, found.is_yours) == (LATER, "yours+karp-aws", True)
    assert not offer().is_yours


def test_the_date_and_first_source_stay_those_of_the_on_demand_price() -> None:
    found = merged(row(spot_usd_per_hour=0.4, vcpus=8))
    assert (found.as_of, found.source) == (TODAY, "karp-aws+yours")
    assert {one.cell: one.was for one in found.overrides} == {"spot_usd_per_hour": None, "vcpus": 16.0}


def test_a_second_list_goes_over_the_first_and_what_was_stays_the_catalogues() -> None:
    found = merged(row(on_demand_usd_per_hour=0.9), row(on_demand_usd_per_hour=0.8, as_of=LATEST), row(vcpus=4))
    assert found.on_demand_usd_per_hour == 0.8
    assert {one.cell: (one.was, one.as_of) for one in found.overrides} == {
        "on_demand_usd_per_hour": (1.0, LATEST),
        "vcpus": (16.0, LATER),
    }
    assert (found.source, found.as_of) == ("yours+karp-aws", LATEST)


def test_a_new_offer_is_all_the_users() -> None:
    made = merge_offers(catalogue(offer()), [row("gpu", accelerator="l4", on_demand_usd_per_hour=2.0)])
    new = made.offers[1]
    assert (new.key, new.accelerator, new.accelerator_count, new.source) == ("acme/gpu@here", "l4", 1, "yours")
    cpu = merge_offers(catalogue(), [row(accelerator="none", on_demand_usd_per_hour=2.0)]).offers[0]
    assert (cpu.accelerator, cpu.accelerator_count) == (None, 0)


def test_owned_hardware_is_carried_as_facts_without_a_price() -> None:
    new = merge_offers(catalogue(), [row("rack", accelerator="l4", accelerator_count=4, owned=OWNED)]).offers[0]
    assert (new.owned, new.on_demand_usd_per_hour, new.is_yours) == (OWNED, None, True)
    bought = merged(row(owned=OWNED))
    assert (bought.owned, bought.on_demand_usd_per_hour) == (OWNED, None)
    rented = merged(row(owned=OWNED), row(on_demand_usd_per_hour=3.0))
    assert (rented.owned, rented.on_demand_usd_per_hour) == (None, 3.0)


def test_a_country_gives_a_region_its_grid() -> None:
    grid = {"DE": GridIntensity("DE", 380, TODAY, "s")}
    before = catalogue(offer())
    made = merge_offers(type(before)(before.accelerators, before.offers, grid), [row(country="DE")])
    assert made.grid_of(made.offers[0]) == grid["DE"]
    assert made.grid_of(offer(region="there")) is None


@pytest.mark.parametrize(
    ("wrong", "says", "hint"),
    [
        (row("new", on_demand_usd_per_hour=1.0), "lacks accelerator_key", "none for a CPU"),
        (row("new", accelerator="none"), "has no price", ""),
        (row(accelerator="l44"), "'l44' is not in the catalogue", "'l4'"),
        (row(accelerator="l4"), "accelerator_count: 0 does not go with accelerator_key 'l4'", ""),
        (row(accelerator_count=2.0), "accelerator_count: 2 does not go with accelerator_key 'none'", ""),
        (row("g", accelerator="none"), "accelerator_count: 1 does not go with accelerator_key 'none'", ""),
        (row(country="Germany"), "country: 'Germany'", "DE"),
    ],
)
def test_what_makes_no_offer_is_refused(wrong: PriceRow, says: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        merge_offers(catalogue(offer(), gpu_offer("g", "l4")), [wrong])
    assert str(caught.value).startswith(f"your price of {wrong.key}: ")
    assert says in str(caught.value)
    assert hint in (caught.value.hint or "")
