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
from tests.fakes.offers import TODAY, catalog_of, gpu_offer, offer


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
def test_cpu_architecture_is_derived_from_the_instance_type(
    provider: str, instance_type: str, architecture: str | None
) -> None:
    assert derive_cpu_architecture(provider, instance_type, None) == architecture


def test_superchip_instance_has_an_arm_cpu() -> None:
    assert derive_cpu_architecture("lambda", "gpu_1x_gh200", "gh200-96gb") == "arm64"
    assert derive_cpu_architecture("azure", "Standard_ND128isr_NDR_GB200_v6", "gb200-186gb") == "arm64"


HEADER = "place,country,g_co2e_per_kwh,as_of_date,source\n"


def test_every_bundled_region_has_a_carbon_intensity_except_any() -> None:
    catalogue = load_bundled_catalog()
    regions_without_grid = {
        offer.region for offer in catalogue.offers if catalogue.find_carbon_intensity(offer) is None
    }
    assert regions_without_grid == {"any"}
    frankfurt = catalogue.find_carbon_intensity(find_offer(catalogue, "aws/g6.xlarge@eu-central-1"))
    assert frankfurt is not None
    assert frankfurt.country == "DE"
    assert 200 < frankfurt.g_co2e_per_kwh < 600
    assert frankfurt.as_of.year >= 2022


def test_every_row_of_the_grid_table_is_of_a_bundled_region() -> None:
    catalogue = load_bundled_catalog()
    regions = {f"{offer.provider}/{offer.region}" for offer in catalogue.offers}
    assert {place for place in catalogue.grid if "/" in place} <= regions


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("aws/x,DE,,,\n", "aws/x is in 'DE', which has no row"),
        ("DE,DE,,,\n", ":2: g_co2e_per_kwh is required for countries"),
        ("aws/x,DE,400,2023-12-31,s\n", ":2: g_co2e_per_kwh is required for countries"),
        ("DE,DE,-1,2023-12-31,s\n", ":2: g_co2e_per_kwh must be a number of at least 0, not '-1'"),
        ("DE,DE,400,2023,s\n", ":2: as_of_date"),
        ("DE,DE,400,2023-12-31,s\nDE,DE,400,2023-12-31,s\n", ":3: the row DE is duplicated"),
    ],
)
def test_invalid_grid_row_is_reported(tmp_path: Path, rows: str, message: str) -> None:
    path = tmp_path / "grid.csv"
    path.write_text(HEADER + rows)
    with pytest.raises(UsageError) as caught:
        load_grid(path)
    assert message in str(caught.value)


LATER_DATE = datetime.date(2026, 9, 1)
LATEST_DATE = datetime.date(2026, 10, 1)
OWNED = OwnedHardware(capex_usd=1000, life_years=4)


def price_row(instance_type: str = "c16", **changes: Any) -> PriceRow:
    fields: dict[str, Any] = {"provider": "acme", "instance_type": instance_type, "region": "here", "as_of": LATER_DATE}
    return PriceRow(**(fields | changes))


def merge_into_one_offer(*rows: PriceRow, of: Offer | None = None) -> Offer:
    return merge_offers(catalog_of(of or offer()), rows).offers[0]


def test_price_row_changes_only_the_columns_that_it_sets() -> None:
    merged_offer = merge_into_one_offer(price_row(on_demand_usd_per_hour=0.9))
    assert merged_offer.on_demand_usd_per_hour == 0.9
    assert (merged_offer.vcpus, merged_offer.memory_gib, merged_offer.spot_usd_per_hour) == (16, 32, None)
    assert merged_offer.overrides == (Override("on_demand_usd_per_hour", 1.0, LATER_DATE),)
    assert (merged_offer.as_of, merged_offer.source, merged_offer.is_customized) == (LATER_DATE, "yours+karp-aws", True)
    assert not offer().is_customized


def test_offer_has_the_date_and_first_source_of_its_on_demand_price() -> None:
    merged_offer = merge_into_one_offer(price_row(spot_usd_per_hour=0.4, vcpus=8))
    assert (merged_offer.as_of, merged_offer.source) == (TODAY, "karp-aws+yours")
    assert {override.column: override.original_value for override in merged_offer.overrides} == {
        "spot_usd_per_hour": None,
        "vcpus": 16.0,
    }


def test_later_price_list_overrides_the_first_and_original_values_are_retained() -> None:
    merged_offer = merge_into_one_offer(
        price_row(on_demand_usd_per_hour=0.9),
        price_row(on_demand_usd_per_hour=0.8, as_of=LATEST_DATE),
        price_row(vcpus=4),
    )
    assert merged_offer.on_demand_usd_per_hour == 0.8
    assert {override.column: (override.original_value, override.as_of) for override in merged_offer.overrides} == {
        "on_demand_usd_per_hour": (1.0, LATEST_DATE),
        "vcpus": (16.0, LATER_DATE),
    }
    assert (merged_offer.source, merged_offer.as_of) == ("yours+karp-aws", LATEST_DATE)


def test_new_offer_of_a_price_row_has_only_the_source_yours() -> None:
    merged_catalog = merge_offers(catalog_of(offer()), [price_row("gpu", accelerator="l4", on_demand_usd_per_hour=2.0)])
    new = merged_catalog.offers[1]
    assert (new.key, new.accelerator, new.accelerator_count, new.source) == ("acme/gpu@here", "l4", 1, "yours")
    cpu = merge_offers(catalog_of(), [price_row(accelerator="none", on_demand_usd_per_hour=2.0)]).offers[0]
    assert (cpu.accelerator, cpu.accelerator_count) == (None, 0)


def test_owned_hardware_replaces_the_price_of_an_offer() -> None:
    new = merge_offers(catalog_of(), [price_row("rack", accelerator="l4", accelerator_count=4, owned=OWNED)]).offers[0]
    assert (new.owned, new.on_demand_usd_per_hour, new.is_customized) == (OWNED, None, True)
    bought = merge_into_one_offer(price_row(owned=OWNED))
    assert (bought.owned, bought.on_demand_usd_per_hour) == (OWNED, None)
    rented = merge_into_one_offer(price_row(owned=OWNED), price_row(on_demand_usd_per_hour=3.0))
    assert (rented.owned, rented.on_demand_usd_per_hour) == (None, 3.0)


def test_country_of_a_price_row_determines_its_carbon_intensity() -> None:
    grid = {"DE": GridCarbonIntensity("DE", 380, TODAY, "s")}
    before = catalog_of(offer())
    merged_catalog = merge_offers(type(before)(before.accelerators, before.offers, grid), [price_row(country="DE")])
    assert merged_catalog.find_carbon_intensity(merged_catalog.offers[0]) == grid["DE"]
    assert merged_catalog.find_carbon_intensity(offer(region="there")) is None


@pytest.mark.parametrize(
    ("invalid_row", "message", "hint"),
    [
        (
            price_row("new", on_demand_usd_per_hour=1.0),
            "is not in the catalog, so it needs accelerator_key",
            "none for a CPU",
        ),
        (price_row("new", accelerator="none"), "has no price", ""),
        (price_row(accelerator="l44"), "'l44' is not in the catalog", "'l4'"),
        (price_row(accelerator="l4"), "accelerator_count: 0 does not match accelerator_key 'l4'", ""),
        (price_row(accelerator_count=2.0), "accelerator_count: 2 does not match accelerator_key 'none'", ""),
        (price_row("g", accelerator="none"), "accelerator_count: 1 does not match accelerator_key 'none'", ""),
        (price_row(country="Germany"), "country: 'Germany'", "DE"),
    ],
)
def test_invalid_price_rows_are_rejected(invalid_row: PriceRow, message: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        merge_offers(catalog_of(offer(), gpu_offer("g", "l4")), [invalid_row])
    assert str(caught.value).startswith(f"your price of {invalid_row.key}: ")
    assert message in str(caught.value)
    assert hint in (caught.value.hint or "")


OFFERS = (DATA_DIRECTORY / "hardware" / "offers.csv").read_text(encoding="utf-8").splitlines()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(DATA_DIRECTORY / "hardware", tmp_path / "hardware"))


def test_bundled_catalog_has_all_offers_and_accelerators() -> None:
    catalogue = load_catalog()
    assert len(catalogue.offers) == len({offer.key for offer in catalogue.offers}) == 293
    assert len(catalogue.accelerators) == 71
    offer = find_offer(catalogue, "aws/g6.2xlarge")
    assert (offer.accelerator, offer.accelerator_count, offer.vcpus) == ("l4", 1, 8)
    assert offer.on_demand_usd_per_hour == 0.9776
    assert offer.as_of == datetime.date(2026, 7, 20)
    assert find_accelerator(catalogue, "l4").memory_gib == 24
    assert find_offer(catalogue, "vultr/per-gpu-list:mi300x").vcpus is None


def test_offer_is_selected_by_region() -> None:
    catalogue = load_catalog()
    assert find_offer(catalogue, "aws/g6.xlarge@eu-north-1").region == "eu-north-1"
    assert find_offer(catalogue, "aws/g6.xlarge", region="eu-central-1").region == "eu-central-1"
    with pytest.raises(UsageError) as caught:
        find_offer(catalogue, "aws/g6.xlarge", region="us-west-9")
    assert "us-east-1" in (caught.value.hint or "")


def test_misspelled_offer_accelerator_and_provider_suggest_the_nearest_name() -> None:
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


def test_ambiguous_accelerator_name_lists_its_variants() -> None:
    with pytest.raises(UsageError, match="'h100' is not a single one") as caught:
        find_accelerator(load_catalog(), "h100")
    assert caught.value.hint == "Use h100-pcie-80gb or h100-sxm5-80gb or h100-nvl-94gb."


def test_accelerator_filter_accepts_short_names() -> None:
    catalogue = load_catalog()
    for name in ("h100", "H100 SXM", "l40s", "none"):
        check_accelerator(catalogue, name)
    for name, nearest in (("h1000", "h100"), ("l44", "l4"), ("mi300", "mi300x")):
        with pytest.raises(UsageError, match="is unknown") as caught:
            check_accelerator(catalogue, name)
        assert caught.value.hint == f"Did you mean {nearest!r}?"


def test_source_filter_accepts_single_sources_and_yours() -> None:
    catalogue = load_catalog()
    for name in ("karp-gcp", "cyclenerd", "yours"):
        check_source(catalogue, name)
    with pytest.raises(UsageError, match="'karp-gcp\\+cyclenerd' is unknown"):
        check_source(catalogue, "karp-gcp+cyclenerd")


@pytest.mark.parametrize(
    ("column", "cell", "message"),
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
def test_invalid_catalog_cell_is_reported_by_file_and_line(folder: Path, column: int, cell: str, message: str) -> None:
    cells = OFFERS[1].split(",")
    cells[column] = cell
    lines = [OFFERS[0], *OFFERS[2:5], ",".join(cells)]
    (folder / "offers.csv").write_text("\n".join(lines) + "\n")
    with pytest.raises(UsageError, match=r"offers\.csv:5: ") as caught:
        load_catalog(folder)
    assert message in str(caught.value)


def test_missing_catalog_table_is_reported(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        load_catalog(tmp_path)


def test_accelerator_has_peak_rates_of_every_precision() -> None:
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
def test_published_price_replaces_the_bundled_price_and_source(
    source: str, prices: dict[str, Any], combined: str
) -> None:
    (merged_offer,) = merge_offers(catalog_of(offer(source=source)), [_published(**prices)]).offers
    assert (merged_offer.source, merged_offer.overrides, merged_offer.is_customized) == (combined, (), False)


def test_new_offer_of_a_published_catalog_is_not_customized() -> None:
    published_row = msgspec.structs.replace(
        _published(on_demand_usd_per_hour=0.9), accelerator="none", accelerator_count=0.0
    )
    (merged_offer,) = merge_offers(catalog_of(), [published_row]).offers
    assert (merged_offer.source, merged_offer.is_customized) == ("aws:https://host/index.csv", False)


@pytest.mark.parametrize(("name", "region"), [("eu", "eu-central-1"), ("us-ea", "us-east-1"), ("FI", "FIN-02")])
def test_region_prefix_is_rejected_with_matching_regions_as_hint(name: str, region: str) -> None:
    with pytest.raises(UsageError) as refused:
        check_region(load_catalog(), name)
    assert region in str(refused.value.hint)
    check_region(load_catalog(), region)
