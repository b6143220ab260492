from __future__ import annotations

from pathlib import Path

import pytest

from app.errors import UsageError
from app.profiles.pricing.published.listed import PublishedPrices, index_instances
from app.profiles.pricing.published.reading import read_catalog
from tests.fakes.offers import offer
from tests.fakes.price_catalogs import INSTANCES, amounts, catalog, catalog_file, sky_aws, skypilot_csv

ZONE = {"Region": "us-central1", "AvailabilityZone": "us-central1-a"}


def read_skypilot(folder: Path, *rows: dict[str, object], provider: str | None = None) -> PublishedPrices:
    file = catalog_file(folder, "vms.csv", skypilot_csv(*rows))
    (published,) = read_catalog([file], "skypilot", INSTANCES, provider)
    return published


def test_skypilot_provider_is_inferred_from_the_instance_types(tmp_path: Path) -> None:
    published = read_skypilot(
        tmp_path,
        sky_aws(spot=0.3, AcceleratorCount="1.0"),
        sky_aws(spot=0.35, AvailabilityZone="use1-az2"),
        sky_aws("x1.big", 9),
    )
    assert amounts(published.prices) == {
        ("g6.xlarge", "us-east-1", "use1-az1", "on-demand"): 0.79,
        ("g6.xlarge", "us-east-1", "use1-az1", "spot"): 0.3,
        ("g6.xlarge", "us-east-1", "use1-az2", "on-demand"): 0.79,
        ("g6.xlarge", "us-east-1", "use1-az2", "spot"): 0.35,
    }
    assert {price.provider for price in published.prices} == {"aws"}
    assert published.prices[0].accelerator_count == 1
    assert published.other_rows == 1


def test_explicit_skypilot_provider_overrides_the_inferred_provider(tmp_path: Path) -> None:
    assert read_skypilot(tmp_path, sky_aws(), provider="lambda").prices == ()


def test_ambiguous_skypilot_provider_requires_an_explicit_provider(tmp_path: Path) -> None:
    instances = index_instances(catalog(offer("A100", provider="one"), offer("A100", provider="two")))
    file = catalog_file(tmp_path, "vms.csv", skypilot_csv(sky_aws("A100")))
    with pytest.raises(UsageError, match="several providers") as refused:
        read_catalog([file], "skypilot", instances, None)
    assert refused.value.hint == "Name the provider with --provider."
    (published,) = read_catalog([file], "skypilot", instances, "two")
    assert [price.provider for price in published.prices] == ["two"]


def test_broker_instance_names_contain_the_provider(tmp_path: Path) -> None:
    published = read_skypilot(
        tmp_path, sky_aws("crusoe_L40Sx8", 11.5, Region="culpeper-usa-1", AcceleratorCount="8.0"), sky_aws("new_L40S")
    )
    assert [(price.provider, price.instance_type) for price in published.prices] == [("crusoe", "L40Sx8")]
    assert published.other_rows == 1


def test_gcp_instance_price_includes_its_separately_listed_accelerators(tmp_path: Path) -> None:
    t4 = {"AcceleratorName": "T4", "AcceleratorCount": 1, "Price": 0.35, "SpotPrice": 0.11} | ZONE
    published = read_skypilot(
        tmp_path,
        sky_aws("g2-standard-4", 0.15, 0.06, **ZONE),
        sky_aws("g2-standard-4", 0.15, 0.06, Region="us-central1", AvailabilityZone="us-central1-b"),
        {"AcceleratorName": "L4", "AcceleratorCount": "1.0", "Price": 0.56, "SpotPrice": 0.22} | ZONE,
        {"AcceleratorName": "L4", "AcceleratorCount": 2, "Price": 1.12} | ZONE,
        sky_aws("n1-standard-4", 0.19, 0.04, **ZONE),
        t4,
        {"AcceleratorName": "tpu-v5p-8", "AcceleratorCount": 1, "Price": 16.9, "SpotPrice": 8} | ZONE,
        sky_aws("a2-ultragpu-1g", 1.1, 0.5, **ZONE),
        sky_aws("c3-standard-8", 0.41, **ZONE),
    )
    zone = ("us-central1", "us-central1-a")
    assert amounts(published.prices) == {
        ("g2-standard-4", *zone, "on-demand"): 0.71,
        ("g2-standard-4", *zone, "spot"): 0.28,
        ("n1-standard-4+1xt4", *zone, "on-demand"): 0.54,
        ("n1-standard-4+1xt4", *zone, "spot"): 0.15,
        ("ct5p-hightpu-4t", *zone, "on-demand"): 16.9,
        ("ct5p-hightpu-4t", *zone, "spot"): 8.0,
        ("c3-standard-8", *zone, "on-demand"): 0.41,
    }


@pytest.mark.parametrize(("price", "total"), [("0", 0.0), ("-0.1", -0.1), ("free", None)])
def test_instance_with_an_unpriced_accelerator_has_no_valid_amount(
    tmp_path: Path, price: str, total: float | None
) -> None:
    published = read_skypilot(
        tmp_path,
        sky_aws("g2-standard-4", 0.15, **ZONE),
        {"AcceleratorName": "L4", "AcceleratorCount": 1, "Price": price} | ZONE,
    )
    assert [listed.amount for listed in published.prices] == [total]


def test_contradictory_accelerator_prices_yield_contradictory_sums(tmp_path: Path) -> None:
    l4 = {"AcceleratorName": "L4", "AcceleratorCount": 1} | ZONE
    published = read_skypilot(
        tmp_path, sky_aws("g2-standard-4", 0.15, **ZONE), l4 | {"Price": 0.56}, l4 | {"Price": 0.9}
    )
    assert sorted(str(price.amount) for price in published.prices) == ["0.71", "1.05"]
