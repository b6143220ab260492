"""Small catalogs in the layouts that providers publish. The structure is real, the rows are invented."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from app.profiles.pricing.published.files import CatalogFile
from app.profiles.pricing.published.listed import KnownInstances, ListedPrice, index_instances
from app.records.offers import Catalog, Offer
from tests.fakes.offers import offer

Rows = Sequence[Mapping[str, object]]


def catalog(*changed: Offer) -> Catalog:
    """A catalog of instance types whose names are real, with `changed` in place of offers of the same key."""
    offers = {
        offer.key: offer
        for offer in (
            _offer("aws", "g6.xlarge", "us-east-1", 0.8, "l4", 1, 4, 16),
            _offer("aws", "g6.12xlarge", "us-east-1", 4.6, "l4", 4, 48, 192),
            _offer("aws", "g6f.2xlarge", "us-east-1", 0.475, "l4", 0.25, 8, 32),
            _offer("aws", "c7i.4xlarge", "us-east-1", 0.714, None, 0, 16, 32),
            _offer("aws", "c7i.4xlarge", "eu-west-1", 0.8, None, 0, 16, 32),
            _offer("azure", "Standard_NC24ads_A100_v4", "eastus", 3.673, "a100-pcie-80gb", 1, 24, 220),
            _offer("gcp", "g2-standard-4", "us-central1", 0.7, "l4", 1, 4, 16),
            _offer("gcp", "a2-ultragpu-1g", "us-central1", 5.07, "a100-sxm4-80gb", 1, 12, 170),
            _offer("gcp", "n1-standard-4+1xt4", "us-central1", 0.54, "t4", 1, 4, 15),
            _offer("gcp", "c3-standard-8", "us-central1", 0.4, None, 0, 8, 32),
            _offer("gcp", "ct5p-hightpu-4t", "us-central1", 16.8, "tpu-v5p", 4, 208, 448),
            _offer("crusoe", "L40Sx8", "culpeper-usa-1", 12.0, "l40s", 8, 64, 1176),
            _offer("lambda", "gpu_1x_a10", "us-east-1", 1.29, "a10", 1, 30, 200),
            _offer("nebius", "gpu-l40s-a_1gpu-8vcpu-32gb", "eu-north1", 1.55, "l40s", 1, 8, 32),
            *changed,
        )
    }
    return Catalog({}, tuple(offers.values()))


def _offer(
    provider: str, name: str, region: str, usd: float, accelerator: str | None, count: float, vcpus: float, gib: float
) -> Offer:
    return offer(
        name, provider=provider, region=region, on_demand_usd_per_hour=usd, accelerator=accelerator,
        accelerator_count=float(count), vcpus=float(vcpus), memory_gib=float(gib),
    )  # fmt: skip


INSTANCES: KnownInstances = index_instances(catalog())


def catalog_file(folder: Path, name: str, content: bytes | str) -> CatalogFile:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return CatalogFile(path, name, name)


def amounts(prices: Sequence[ListedPrice]) -> dict[tuple[str, str, str, str], float | None]:
    """Amounts by instance type, region, zone and kind."""
    return {(price.instance_type, price.region, price.zone, price.kind): price.amount for price in prices}


def to_csv(rows: Rows, columns: Sequence[str], *, quoted: bool = False) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(
        text, columns, restval="", lineterminator="\n", quoting=csv.QUOTE_ALL if quoted else csv.QUOTE_MINIMAL
    )
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


GPUHUNT_COLUMNS = (
    "instance_name", "location", "price", "cpu", "memory", "gpu_count", "gpu_name", "gpu_memory", "spot", "disk_size",
    "gpu_vendor", "flags", "cpu_arch", "provider_data",
)  # fmt: skip


def gpuhunt_csv(*rows: Mapping[str, object]) -> str:
    usual = {"cpu": 4, "memory": 16.0, "gpu_count": 0, "spot": False, "cpu_arch": "x86", "provider_data": "{}"}
    return to_csv([{**usual, **row} for row in rows], GPUHUNT_COLUMNS)


def gpuhunt_zip(files: Mapping[str, str], date: tuple[int, int, int] = (2026, 8, 19)) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            archive.writestr(zipfile.ZipInfo(name, (*date, 0, 0, 0)), text, zipfile.ZIP_DEFLATED)
    return content.getvalue()


SKYPILOT_COLUMNS = (
    "InstanceType", "AcceleratorName", "AcceleratorCount", "vCPUs", "MemoryGiB", "GpuInfo", "Price", "SpotPrice",
    "Region", "AvailabilityZone",
)  # fmt: skip


def skypilot_csv(*rows: Mapping[str, object]) -> str:
    return to_csv(rows, SKYPILOT_COLUMNS)


def sky_aws(name: str = "g6.xlarge", price: object = 0.79, spot: object = "", **cells: object) -> dict[str, object]:
    usual: dict[str, object] = {"Region": "us-east-1", "AvailabilityZone": "use1-az1"}
    return usual | {"InstanceType": name, "Price": price, "SpotPrice": spot} | cells


AWS_COLUMNS = (
    "SKU", "OfferTermCode", "RateCode", "TermType", "PriceDescription", "EffectiveDate", "StartingRange", "EndingRange",
    "Unit", "PricePerUnit", "Currency", "RelatedTo", "LeaseContractLength", "PurchaseOption", "OfferingClass",
    "Product Family", "serviceCode", "Location", "Location Type", "Instance Type", "Current Generation", "vCPU",
    "Memory", "Operating System", "License Model", "Tenancy", "Pre Installed S/W", "CapacityStatus", "GPU",
    "MarketOption", "Region Code", "serviceName",
)  # fmt: skip
AWS_METADATA = (
    '"FormatVersion","v1.0"\n"Disclaimer","This pricing list, with a comma, is invented."\n'
    '"Publication Date","2026-11-20T17:07:46Z"\n"Version","20261120170746"\n"OfferCode","AmazonEC2"\n'
)


def aws_row(name: str = "g6.xlarge", price: object = "0.7900000000", **cells: object) -> dict[str, object]:
    usual: dict[str, object] = {
        "SKU": "ABCDEFGHIJKLMNOP", "OfferTermCode": "JRTCKXETXF", "TermType": "OnDemand", "EffectiveDate": "2026-11-01",
        "Unit": "Hrs", "Currency": "USD", "Operating System": "Linux", "Tenancy": "Shared", "Pre Installed S/W": "NA",
        "CapacityStatus": "Used", "MarketOption": "OnDemand", "Region Code": "us-east-1", "Location Type": "AWS Region",
    }  # fmt: skip
    return usual | {"Instance Type": name, "PricePerUnit": price} | cells


def aws_reserved(name: str = "g6.xlarge", price: object = "0.5000000000", **cells: object) -> dict[str, object]:
    lease = {"LeaseContractLength": "1yr", "PurchaseOption": "No Upfront", "OfferingClass": "standard"}
    return aws_row(name, price, TermType="Reserved", **(lease | cells))


def aws_csv(*rows: Mapping[str, object]) -> str:
    return AWS_METADATA + to_csv(rows, AWS_COLUMNS, quoted=True)


def aws_product(sku: str, name: str = "g6.xlarge", **attributes: object) -> dict[str, Any]:
    usual = {
        "servicecode": "AmazonEC2", "operatingSystem": "Linux", "tenancy": "Shared", "preInstalledSw": "NA",
        "capacitystatus": "Used", "regionCode": "us-east-1", "marketoption": "OnDemand",
    }  # fmt: skip
    return {sku: {"sku": sku, "attributes": usual | {"instanceType": name} | attributes}}


def aws_term(sku: str, price: object = "0.7900000000", currency: str = "USD", **term: object) -> dict[str, Any]:
    dimension = {"unit": "Hrs", "description": "invented", "pricePerUnit": {currency: price}, "appliesTo": []}
    usual = {
        "effectiveDate": "2026-11-01T00:00:00Z",
        "priceDimensions": {f"{sku}.T.R": dimension},
        "termAttributes": {},
    }
    return {sku: {f"{sku}.T": usual | term}}


def aws_json(products: dict[str, Any], on_demand: dict[str, Any], reserved: dict[str, Any] | None = None) -> str:
    return json.dumps(
        {
            "formatVersion": "v1.0",
            "offerCode": "AmazonEC2",
            "publicationDate": "2026-11-20T17:07:46Z",
            "products": products,
            "terms": {"OnDemand": on_demand, "Reserved": reserved or {}},
        }
    )


def azure_item(price: object = 3.5, **fields: object) -> dict[str, object]:
    usual: dict[str, object] = {
        "currencyCode": "USD", "tierMinimumUnits": 0.0, "unitPrice": price, "armRegionName": "eastus",
        "location": "US East", "effectiveStartDate": "2026-10-01T00:00:00Z", "meterName": "NC24ads A100 v4",
        "productName": "Virtual Machines NCadsA100v4 Series", "skuName": "NC24ads A100 v4",
        "serviceName": "Virtual Machines", "unitOfMeasure": "1 Hour", "type": "Consumption",
        "isPrimaryMeterRegion": True, "armSkuName": "Standard_NC24ads_A100_v4",
    }  # fmt: skip
    return usual | {"retailPrice": price} | fields


def azure_json(*items: Mapping[str, object], currency: str = "USD", next_page: str | None = None) -> str:
    return json.dumps(
        {
            "BillingCurrency": currency,
            "CustomerEntityId": "Default",
            "CustomerEntityType": "Retail",
            "Items": items,
            "NextPageLink": next_page,
            "Count": len(items),
        }
    )


def gcp_sku(description: str, price: float, **fields: object) -> dict[str, object]:
    """A SKU of us-central1, on demand or, by its description, preemptible."""
    family = "Storage" if "Local Storage" in description else "Compute"
    unit = "GiBy.mo" if family == "Storage" else "GiBy.h" if " Ram " in description else "h"
    units, nanos = divmod(round(price * 1e9), 10**9)
    usage = "Preemptible" if "Preemptible" in description else "OnDemand"
    usual: dict[str, object] = {
        "name": "services/6F81-5844-456A/skus/0000-0000-0000", "skuId": "0000-0000-0000", "description": description,
        "category": {"serviceDisplayName": "Compute Engine", "resourceFamily": family, "usageType": usage},
        "serviceRegions": ["us-central1"],
        "pricingInfo": [gcp_pricing(str(units), nanos, unit)],
    }  # fmt: skip
    return usual | fields


def gcp_pricing(units: str, nanos: int, unit: str = "h", currency: str = "USD", rate: float = 1) -> dict[str, object]:
    price = {"currencyCode": currency, "units": units, "nanos": nanos}
    expression = {"usageUnit": unit, "tieredRates": [{"startUsageAmount": 0, "unitPrice": price}]}
    return {"pricingExpression": expression, "currencyConversionRate": rate, "effectiveTime": "2026-11-20T00:00:00Z"}


def gcp_json(*skus: Mapping[str, object], next_page: str = "") -> str:
    return json.dumps({"skus": skus, "nextPageToken": next_page})
