"""A published catalog of prices; the first byte chooses whether its layout is detected or named."""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from functools import cache

from app.profiles.pricing.catalog import load_bundled_catalog
from app.profiles.pricing.price_update import DatedCatalog, UpdateRules, compare_prices
from app.profiles.pricing.published.files import CatalogFile
from app.profiles.pricing.published.listed import KnownInstances, index_instances
from app.profiles.pricing.published.reading import detect_format, find_next_page, read_catalog
from app.records.price_layouts import LAYOUT_IDS
from tests.fakes import price_catalogs
from tests.fuzz.scratch import input_file

DAY = datetime.date(2026, 11, 28)


@cache
def _instances() -> KnownInstances:
    return index_instances(load_bundled_catalog())


def read(data: bytes) -> None:
    choice = (data[0] if data else 0) % (len(LAYOUT_IDS) + 1)
    with input_file(data, "aws.csv") as path:
        file = CatalogFile(path, "aws.csv", "aws.csv")
        layout = LAYOUT_IDS[choice - 1] if choice else detect_format(file)
        dated = [DatedCatalog(catalog, "source", DAY) for catalog in read_catalog([file], layout, _instances(), None)]
        find_next_page(file)
    compare_prices(dated, load_bundled_catalog(), UpdateRules(max_change=2.0), DAY)


def seeds() -> Iterable[bytes]:
    gpuhunt = price_catalogs.gpuhunt_csv({"instance_name": "g6.xlarge", "location": "us-east-1", "price": 0.79})
    yield b"\0" + price_catalogs.gpuhunt_zip({"aws.csv": gpuhunt})
    for content in (
        gpuhunt,
        price_catalogs.skypilot_csv(price_catalogs.sky_aws(spot=0.3)),
        price_catalogs.aws_csv(price_catalogs.aws_row(), price_catalogs.aws_reserved()),
        price_catalogs.aws_json(price_catalogs.aws_product("A"), price_catalogs.aws_term("A")),
        price_catalogs.azure_json(price_catalogs.azure_item()),
        price_catalogs.gcp_json(
            price_catalogs.gcp_sku("G2 Instance Core running in Iowa", 0.025),
            price_catalogs.gcp_sku("G2 Instance Ram running in Iowa", 0.003),
            price_catalogs.gcp_sku("Nvidia L4 GPU running in Iowa", 0.56),
        ),
    ):
        yield b"\0" + content.encode()
