"""Layouts of published price catalogs: one row per layout.

A layout is read by the module of `app.profiles.pricing.published` with the layout's ID as its name.
The module has the function `read`, `has_columns` if the catalog is published as CSV, and
`read_archive` if it is published as a zip archive. Commands, the detection of the
layout, the trust in its prices and the documentation follow from the row.
"""

from __future__ import annotations

import msgspec


class CatalogLayout(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    label: str
    """What the catalog is called in the help of a command, if the ID does not say it."""
    description: str
    """Files that can be read, as a noun phrase."""
    address: str
    """URL pattern of the published catalog."""
    is_collected: bool
    """Whether the catalog is collected by others than the provider, so that its prices are trusted
    less."""
    json_key: str = ""
    """Key at the top of a JSON file that no other layout has; empty if the layout is not JSON."""
    next_link_key: str = ""
    """Key of the link to the next page of a response; empty if there is none."""
    next_token_key: str = ""
    """Key of the token with which the next page of a response is requested; empty if there is none."""

    @property
    def has_pages(self) -> bool:
        return bool(self.next_link_key or self.next_token_key)


LAYOUTS = (
    CatalogLayout(
        id="gpuhunt",
        label="",
        description="a zip archive with a CSV file for each provider, or one of these files",
        address="https://dstack-gpu-pricing.s3.eu-west-1.amazonaws.com/v3/PROVIDER/latest/catalog.zip",
        is_collected=True,
    ),
    CatalogLayout(
        id="skypilot",
        label="vms.csv",
        description="the `vms.csv` of one provider",
        address="https://skypilot-catalog.s3.us-east-1.amazonaws.com/catalogs/VERSION/PROVIDER/vms.csv",
        is_collected=True,
    ),
    CatalogLayout(
        id="aws",
        label="price list of EC2",
        description="the price list of EC2 for one region, as CSV or JSON",
        address="https://pricing.us-east-1.amazonaws.com/offers/v1.0/aws/AmazonEC2/current/REGION/index.csv",
        is_collected=False,
        json_key="products",
    ),
    CatalogLayout(
        id="azure",
        label="Retail Prices API",
        description="responses of the Retail Prices API",
        address="https://prices.azure.com/api/retail/prices?$filter=serviceName eq 'Virtual Machines' and "
        "armRegionName eq 'REGION'",
        is_collected=False,
        json_key="Items",
        next_link_key="NextPageLink",
    ),
    CatalogLayout(
        id="gcp",
        label="SKUs of Compute Engine",
        description="SKUs of Compute Engine from the Cloud Billing Catalog API",
        address="https://cloudbilling.googleapis.com/v1/services/6F81-5844-456A/skus?key=KEY",
        is_collected=False,
        json_key="skus",
        next_token_key="nextPageToken",
    ),
)
LAYOUT_IDS = tuple(layout.id for layout in LAYOUTS)
