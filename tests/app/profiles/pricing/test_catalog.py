from __future__ import annotations

import datetime
import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest

from app.errors import UsageError
from app.profiles.bundled import DATA_DIRECTORY
from app.profiles.pricing.catalog import (
    check_accelerator,
    check_provider,
    check_region,
    check_source,
    derive_cpu_architecture,
    find_accelerator,
    find_offer,
    load_bundled_catalog,
    load_catalog,
    load_grid,
    merge_offers,
)
from app.records.offers import GridCarbonIntensity, Offer, Override, OwnedHardware, PriceRow
from tests.fakes.offers import TODAY, catalogue, gpu_offer, offer


@pytest.mark.parametrize(
    ("provider", "instance_type", "architecture"),
    [
        ("aws", "c7g.4xlarge", "arm64"), ("aws", "g5g.xlarge", "arm64"), ("aws", "x2gd.large", "arm64"),
        ("aws", "a1.large", "arm64"), ("aws", "g4dn.xlarge", "x86_64"), ("aws", "g6.xlarge", "x86_64"),
        ("aws", "c7i.4xlarge", "x86_64"), ("aws", "p6-b200.48xlarge", "x86_64"),
        ("gcp", "c4a-standard-16", "arm64"), ("gcp", "t2a-standard-8", "arm64"), ("gcp", "c4-standard-16", "x86_64"),
        ("gcp", "a2-highgpu-1g", "x86_64"),
        ("azure", "Standard_D16ps_v5", "arm64"), ("azure", "Standard_D16as_v6", "x86_64"),
        ("azure", "Standard_NC24ads_A100_v4", "x86_64"),
        ("nebius", "cpu-d3_16vcpu-64gb", "x86_64"), ("verda", "CPU.16V.64G", None), ("vast", "1x-L40S", None),
    ],
)  # fmt: skip
def test_the_name_reports_the_architecture(provider: str, instance_type: str, architecture: str | None) -> None:
    assert derive_cpu_architecture(provider, instance_type, None) == architecture


def test_a_superchip_has_an_arm_cpu() -> None:
    assert derive_cpu_architecture("lambda", "gpu_1x_gh200", "gh200-96gb") == "arm64"
    assert derive_cpu_architecture("azure", "Standard_ND128isr_NDR_GB200_v6", "gb200-186gb") == "arm64"


HEAD = "place,country,g_co2e_per_kwh,as_of_date,source\n"


def test_every_region_of_the_catalogue_has_a_grid_or_is_anywhere() -> None:
    catalogue = load_bundled_catalog()
    without = {offer.region for offer in catalogue.offers if catalogue.find_carbon_intensity(offer) is None}
    assert without == {"any"}
    frankfurt = catalogue.find_carbon_intensity(find_offer(catalogue, "aws/g6.xlarge@eu-central-1"))
    assert frankfurt is not None
    assert frankfurt.country == "DE"
    assert 200 < frankfurt.g_co2e_per_kwh < 600
    assert frankfurt.as_of.year >= 2022


def test_no_row_is_of_a_region_that_is_not_there() -> None:
    catalogue = load_bundled_catalog()
    known = {f"{offer.provider}/{offer.region}" for offer in catalogue.offers}
    assert {place for place in catalogue.grid if "/" in place} <= known


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ("aws/x,DE,,,\n", "aws/x is in 'DE', which has no row"),
        ("DE,DE,,,\n", ":2: g_co2e_per_kwh is required for countries"),
        ("aws/x,DE,400,2023-12-31,s\n", ":2: g_co2e_per_kwh is required for countries"),
        ("DE,DE,-1,2023-12-31,s\n", ":2: g_co2e_per_kwh must be a number of at least 0, not '-1'"),
        ("DE,DE,400,2023,s\n", ":2: as_of_date"),
        ("DE,DE,400,2023-12-31,s\nDE,DE,400,2023-12-31,s\n", ":3: the row DE is duplicated"),
    ],
)
def test_a_wrong_row_is_reported(tmp_path: Path, rows: str, says: str) -> None:
    path = tmp_path / "grid.csv"
    path.write_text(HEAD + rows)
    with pytest.raises(UsageError) as caught:
        load_grid(path)
    assert says in str(caught.value)


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
    assert (found.as_of, found.source, found.is_customized) == (LATER, "yours+karp-aws", True)
    assert not offer().is_customized


def test_the_date_and_first_source_stay_those_of_the_on_demand_price() -> None:
    found = merged(row(spot_usd_per_hour=0.4, vcpus=8))
    assert (found.as_of, found.source) == (TODAY, "karp-aws+yours")
    assert {one.column: one.original_value for one in found.overrides} == {"spot_usd_per_hour": None, "vcpus": 16.0}


def test_a_second_list_goes_over_the_first_and_what_was_stays_the_catalogues() -> None:
    found = merged(row(on_demand_usd_per_hour=0.9), row(on_demand_usd_per_hour=0.8, as_of=LATEST), row(vcpus=4))
    assert found.on_demand_usd_per_hour == 0.8
    assert {one.column: (one.original_value, one.as_of) for one in found.overrides} == {
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
    assert (new.owned, new.on_demand_usd_per_hour, new.is_customized) == (OWNED, None, True)
    bought = merged(row(owned=OWNED))
    assert (bought.owned, bought.on_demand_usd_per_hour) == (OWNED, None)
    rented = merged(row(owned=OWNED), row(on_demand_usd_per_hour=3.0))
    assert (rented.owned, rented.on_demand_usd_per_hour) == (None, 3.0)


def test_a_country_gives_a_region_its_grid() -> None:
    grid = {"DE": GridCarbonIntensity("DE", 380, TODAY, "s")}
    before = catalogue(offer())
    made = merge_offers(type(before)(before.accelerators, before.offers, grid), [row(country="DE")])
    assert made.find_carbon_intensity(made.offers[0]) == grid["DE"]
    assert made.find_carbon_intensity(offer(region="there")) is None


@pytest.mark.parametrize(
    ("wrong", "says", "hint"),
    [
        (
            row("new", on_demand_usd_per_hour=1.0),
            "is not in the catalog, so it needs accelerator_key",
            "none for a CPU",
        ),
        (row("new", accelerator="none"), "has no price", ""),
        (row(accelerator="l44"), "'l44' is not in the catalog", "'l4'"),
        (row(accelerator="l4"), "accelerator_count: 0 does not match accelerator_key 'l4'", ""),
        (row(accelerator_count=2.0), "accelerator_count: 2 does not match accelerator_key 'none'", ""),
        (row("g", accelerator="none"), "accelerator_count: 1 does not match accelerator_key 'none'", ""),
        (row(country="Germany"), "country: 'Germany'", "DE"),
    ],
)
def test_what_makes_no_offer_is_refused(wrong: PriceRow, says: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        merge_offers(catalogue(offer(), gpu_offer("g", "l4")), [wrong])
    assert str(caught.value).startswith(f"your price of {wrong.key}: ")
    assert says in str(caught.value)
    assert hint in (caught.value.hint or "")


OFFERS = (DATA_DIRECTORY / "hardware" / "offers.csv").read_text(encoding="utf-8").splitlines()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(DATA_DIRECTORY / "hardware", tmp_path / "hardware"))


def test_the_bundled_catalogue_is_whole() -> None:
    catalogue = load_catalog()
    assert len(catalogue.offers) == len({offer.key for offer in catalogue.offers}) == 293
    assert len(catalogue.accelerators) == 71
    offer = find_offer(catalogue, "aws/g6.2xlarge")
    assert (offer.accelerator, offer.accelerator_count, offer.vcpus) == ("l4", 1, 8)
    assert offer.on_demand_usd_per_hour == 0.9776
    assert offer.as_of == datetime.date(2026, 7, 20)
    assert find_accelerator(catalogue, "l4").memory_gib == 24
    assert find_offer(catalogue, "vultr/per-gpu-list:mi300x").vcpus is None


def test_an_offer_is_found_in_its_region() -> None:
    catalogue = load_catalog()
    assert find_offer(catalogue, "aws/g6.xlarge@eu-north-1").region == "eu-north-1"
    assert find_offer(catalogue, "aws/g6.xlarge", region="eu-central-1").region == "eu-central-1"
    with pytest.raises(UsageError) as caught:
        find_offer(catalogue, "aws/g6.xlarge", region="us-west-9")
    assert "us-east-1" in (caught.value.hint or "")


def test_wrong_names_get_the_nearest() -> None:
    catalogue = load_catalog()
    with pytest.raises(UsageError) as caught:
        find_offer(catalogue, "aws/g6.2xlrage")
    assert "aws/g6.2xlarge" in (caught.value.hint or "")
    with pytest.raises(UsageError) as caught:
        find_accelerator(catalogue, "l-40s")
    assert "l40s" in (caught.value.hint or "")
    with pytest.raises(UsageError) as caught:
        check_provider(catalogue, "azur")
    assert "azure" in (caught.value.hint or "")


def test_hardware_needs_one_of_the_variants() -> None:
    with pytest.raises(UsageError, match="'h100' is not a single one") as caught:
        find_accelerator(load_catalog(), "h100")
    assert caught.value.hint == "Use h100-pcie-80gb or h100-sxm5-80gb or h100-nvl-94gb."


def test_the_name_of_a_filter_may_be_short() -> None:
    catalogue = load_catalog()
    for name in ("h100", "H100 SXM", "l40s", "none"):
        check_accelerator(catalogue, name)
    for name, nearest in (("h1000", "h100"), ("l44", "l4"), ("mi300", "mi300x")):
        with pytest.raises(UsageError, match="is unknown") as caught:
            check_accelerator(catalogue, name)
        assert caught.value.hint == f"Did you mean {nearest!r}?"


def test_a_source_is_any_of_those_of_an_offer_or_yours() -> None:
    catalogue = load_catalog()
    for name in ("karp-gcp", "cyclenerd", "yours"):
        check_source(catalogue, name)
    with pytest.raises(UsageError, match="'karp-gcp\\+cyclenerd' is unknown"):
        check_source(catalogue, "karp-gcp+cyclenerd")


@pytest.mark.parametrize(
    ("column", "cell", "says"),
    [
        (0, "", "provider is empty"),
        (3, "l4x", "accelerator_key 'l4x' is not in accelerators.csv"),
        (3, "none", "accelerator_count"),
        (4, "", "accelerator_count"),
        (5, "four", "vcpus must be a number of at least 0, not 'four'"),
        (7, "-1", "on_demand_usd_per_hour must be a number of at least 0"),
        (7, "nan", "on_demand_usd_per_hour"),
        (10, "20.7.2026", "as_of_date must be a date such as 2026-07-20"),
        (11, "", "source is empty"),
        (11, "x,y", "the number of cells does not match"),
        (1, "g4dn.2xlarge", "is duplicated"),
    ],
)
def test_a_bad_cell_is_reported_by_file_and_line(folder: Path, column: int, cell: str, says: str) -> None:
    cells = OFFERS[1].split(",")
    cells[column] = cell
    bad_last = [OFFERS[0], *OFFERS[2:5], ",".join(cells)]
    (folder / "offers.csv").write_text("\n".join(bad_last) + "\n")
    with pytest.raises(UsageError, match=r"offers\.csv:5: ") as caught:
        load_catalog(folder)
    assert says in str(caught.value)


def test_a_missing_table(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        load_catalog(tmp_path)


def test_the_peaks_of_every_precision_are_read() -> None:
    card = find_accelerator(load_catalog(), "b200-sxm-180gb")
    assert (card.tf32_tflops, card.bf16_tflops, card.fp8_tflops, card.fp4_tflops) == (1100, 2250, 4500, 9000)
    assert (card.interconnect, card.interconnect_gb_s) == ("NVLink 5", 1800)
    assert find_accelerator(load_catalog(), "a100-sxm4-80gb").fp8_tflops is None


def test_retired_instances_are_not_listed() -> None:
    names = {offer.instance_type for offer in load_catalog().offers}
    assert not names & {"Standard_NC6s_v3", "Standard_NC24s_v3"}


def _published(**prices: Any) -> PriceRow:
    return PriceRow(
        provider="acme", instance_type="c16", region="here", as_of=TODAY, source="aws:https://host/index.csv", **prices
    )


@pytest.mark.parametrize(
    ("source", "prices", "combined"),
    [
        ("karp-aws", {"on_demand_usd_per_hour": 0.9}, "aws:https://host/index.csv"),
        ("karp-aws+sky-v9", {"on_demand_usd_per_hour": 0.9}, "aws:https://host/index.csv+sky-v9"),
        ("karp-aws", {"spot_usd_per_hour": 0.3}, "karp-aws+aws:https://host/index.csv"),
    ],
)
def test_a_published_price_takes_the_place_of_the_catalogues(
    source: str, prices: dict[str, Any], combined: str
) -> None:
    (merged,) = merge_offers(catalogue(offer(source=source)), [_published(**prices)]).offers
    assert (merged.source, merged.overrides, merged.is_customized) == (combined, (), False)


def test_a_new_offer_of_a_published_catalogue_is_not_the_users() -> None:
    row = msgspec.structs.replace(_published(on_demand_usd_per_hour=0.9), accelerator="none", accelerator_count=0.0)
    (merged,) = merge_offers(catalogue(), [row]).offers
    assert (merged.source, merged.is_customized) == ("aws:https://host/index.csv", False)


@pytest.mark.parametrize(("name", "region"), [("eu", "eu-central-1"), ("us-ea", "us-east-1"), ("FI", "FIN-02")])
def test_a_name_for_several_regions_is_answered_with_these(name: str, region: str) -> None:
    with pytest.raises(UsageError) as refused:
        check_region(load_catalog(), name)
    assert region in str(refused.value.hint)
    check_region(load_catalog(), region)
