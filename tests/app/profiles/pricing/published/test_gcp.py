from __future__ import annotations

from pathlib import Path

import pytest

from app.errors import UsageError
from app.profiles.pricing.published.listed import PublishedPrices
from app.profiles.pricing.published.reading import read_catalog
from tests.fakes.price_catalogs import INSTANCES, amounts, catalog_file, gcp_json, gcp_pricing, gcp_sku

CORE = gcp_sku("G2 Instance Core running in Iowa", 0.025)
RAM = gcp_sku("G2 Instance Ram running in Iowa", 0.003)
L4 = gcp_sku("Nvidia L4 GPU running in Iowa", 0.56)
G2 = ("g2-standard-4", "us-central1", "", "on-demand")


def read_gcp(folder: Path, *skus: dict[str, object]) -> PublishedPrices:
    (published,) = read_catalog([catalog_file(folder, "skus.json", gcp_json(*skus))], "gcp", INSTANCES, None)
    return published


def test_gcp_instance_price_is_the_sum_of_its_components(tmp_path: Path) -> None:
    published = read_gcp(
        tmp_path,
        CORE,
        RAM,
        L4,
        gcp_sku("Spot Preemptible G2 Instance Core running in Iowa", 0.01),
        gcp_sku("Spot Preemptible G2 Instance Ram running in Iowa", 0.001),
        gcp_sku("Nvidia L4 GPU attached to Spot Preemptible VMs running in Iowa", 0.2),
        gcp_sku("N1 Predefined Instance Core running in Americas", 0.03),
        gcp_sku("N1 Predefined Instance Ram running in Americas", 0.004),
        gcp_sku("Nvidia Tesla T4 GPU running in Americas", 0.35),
        gcp_sku("C3 Instance Core running in Iowa", 0.03),
        gcp_sku("C3 Instance Ram running in Iowa", 0.004),
        gcp_sku("A2 Instance Core running in Americas", 0.03),
        gcp_sku("A2 Instance Ram running in Americas", 0.004),
        gcp_sku("Nvidia Tesla A100 80GB GPU running in Americas", 3.9),
        gcp_sku("SSD backed Local Storage", 0.073),
    )
    assert amounts(published.prices) == {
        G2: pytest.approx(4 * 0.025 + 16 * 0.003 + 0.56),
        (*G2[:3], "spot"): pytest.approx(4 * 0.01 + 16 * 0.001 + 0.2),
        ("n1-standard-4+1xt4", "us-central1", "", "on-demand"): pytest.approx(4 * 0.03 + 15 * 0.004 + 0.35),
        ("c3-standard-8", "us-central1", "", "on-demand"): pytest.approx(8 * 0.03 + 32 * 0.004),
        ("a2-ultragpu-1g", "us-central1", "", "on-demand"): pytest.approx(
            12 * 0.03 + 170 * 0.004 + 3.9 + 375 * 0.073 / 730, abs=1e-6
        ),
    }
    assert published.other_rows == 0


def test_gcp_skus_with_other_terms_are_ignored(tmp_path: Path) -> None:
    others = [
        gcp_sku("G2 Custom Instance Core running in Iowa", 0.9),
        gcp_sku("G2 Instance Core running in Iowa Sole Tenancy", 0.9),
        gcp_sku("DWS Calendar Mode G2 Instance Core running in Iowa", 0.9),
        gcp_sku("Commitment v1: G2 Core running in Iowa for 1 Year", 0.9),
        gcp_sku("Nvidia L4 Virtual Workstation GPU running in Iowa", 0.9),
        gcp_sku("Network Egress", 0.9),
        L4 | {"category": {"resourceFamily": "Compute", "usageType": "Commit1Yr"}},
        L4 | {"category": {"resourceFamily": "License", "usageType": "OnDemand"}},
        L4 | {"pricingInfo": []},
    ]
    published = read_gcp(tmp_path, CORE, RAM, L4, *others)
    assert amounts(published.prices) == {G2: pytest.approx(0.708)}
    assert published.other_rows == len(others)


def test_gcp_components_may_be_on_different_pages(tmp_path: Path) -> None:
    pages = [catalog_file(tmp_path, f"{index}.json", gcp_json(*skus)) for index, skus in enumerate(([CORE, L4], [RAM]))]
    (published,) = read_catalog(pages, "gcp", INSTANCES, None)
    assert amounts(published.prices) == {G2: pytest.approx(0.708)}


def test_gcp_instance_with_a_missing_component_has_no_price(tmp_path: Path) -> None:
    assert read_gcp(tmp_path, CORE, RAM).prices == ()
    elsewhere = gcp_sku("Nvidia L4 GPU running in Tokyo", 0.7, serviceRegions=["asia-northeast1"])
    assert read_gcp(tmp_path, CORE, RAM, elsewhere).prices == ()


@pytest.mark.parametrize(
    ("pricing", "total"),
    [
        (gcp_pricing("0", 0), 0.0),
        (gcp_pricing("-1", 0), -1.0),
        (gcp_pricing("x", 0), None),
        (gcp_pricing("1" * 400, 0), None),
        (gcp_pricing("0", 5, unit="mo"), None),
    ],
)
def test_gcp_instance_with_an_unpriced_component_has_no_valid_amount(
    tmp_path: Path, pricing: dict[str, object], total: float | None
) -> None:
    published = read_gcp(tmp_path, CORE, RAM, L4 | {"pricingInfo": [pricing]})
    assert [price.amount for price in published.prices] == [total]


def test_gcp_prices_have_every_currency_label(tmp_path: Path) -> None:
    in_eur = RAM | {"pricingInfo": [gcp_pricing("0", 3_000_000, "GiBy.h", currency="EUR", rate=0.9)]}
    converted = RAM | {"pricingInfo": [gcp_pricing("0", 3_000_000, "GiBy.h", rate=0.9)]}
    assert read_gcp(tmp_path, CORE, RAM, L4).prices[0].currencies == ("USD",)
    assert read_gcp(tmp_path, CORE, in_eur, L4).prices[0].currencies == ("EUR", "USD")
    assert read_gcp(tmp_path, CORE, converted, L4).prices[0].currencies == ("USD", "a converted currency")


def test_latest_gcp_pricing_applies_and_contradictory_skus_yield_two_sums(tmp_path: Path) -> None:
    dated = L4 | {"pricingInfo": [gcp_pricing("9", 0), gcp_pricing("0", 560_000_000)]}
    assert amounts(read_gcp(tmp_path, CORE, RAM, dated).prices) == {G2: pytest.approx(0.708)}
    published = read_gcp(tmp_path, CORE, RAM, L4, gcp_sku("Nvidia L4 GPU running in Iowa", 0.9))
    assert sorted(str(price.amount) for price in published.prices) == ["0.708", "1.048"]


def test_gcp_skus_of_a_wrong_type_are_counted(tmp_path: Path) -> None:
    published = read_gcp(tmp_path, CORE, RAM, L4, L4 | {"serviceRegions": "us-central1"})
    assert len(published.prices) == 1
    assert published.unreadable_rows == 1
    assert published.problems[0].startswith("skus[3]: Expected `array`, got `str`")


def test_gcp_error_response_is_rejected(tmp_path: Path) -> None:
    file = catalog_file(tmp_path, "skus.json", '{"error": {"code": 403}}')
    with pytest.raises(UsageError, match="missing required field `skus`"):
        read_catalog([file], "gcp", INSTANCES, None)
