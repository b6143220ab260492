"""Read the price list of Amazon EC2: the offer file of the AWS Price List, as CSV or JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from app.errors import UsageError
from app.profiles.pricing.published.csv_table import CsvTable
from app.profiles.pricing.published.files import CatalogFile, is_json, read_json
from app.profiles.pricing.published.listed import (
    KnownInstances,
    ListedPrice,
    PublishedPrices,
    UnusedRows,
    build_published_prices,
    parse_amount,
    parse_count,
    parse_date,
)
from app.records.offers import RequestedPrice
from loadgen.decoding import decode_json, json_decoder
from loadgen.regular_files import open_regular

_METADATA_CELL = "FormatVersion"
_MAX_METADATA_ROWS = 10
_PUBLICATION_DATE = "Publication Date"
_REQUIRED_COLUMNS = (
    "TermType",
    "Unit",
    "PricePerUnit",
    "Currency",
    "Instance Type",
    "Tenancy",
    "Operating System",
    "Pre Installed S/W",
    "CapacityStatus",
    "Region Code",
)
_OPTIONAL_COLUMNS = ("EffectiveDate", "LeaseContractLength", "PurchaseOption", "OfferingClass", "MarketOption", "GPU")
_FIRST_COLUMN = "SKU"


class _Terms(msgspec.Struct, frozen=True):
    """Terms of a price: on demand, or a reservation."""

    term_type: str
    lease: str = ""
    purchase_option: str = ""
    offering_class: str = ""


def _find_kind(terms: _Terms) -> RequestedPrice | None:
    """Return the kind of a price; `None` for terms that Sizewise does not plan with.

    A reserved price is that of a standard reservation for one year without upfront payment.
    """
    if terms.term_type == "OnDemand":
        return "on-demand"
    is_supported = (terms.lease, terms.purchase_option, terms.offering_class) == ("1yr", "No Upfront", "standard")
    return "reserved-1y" if terms.term_type == "Reserved" and is_supported else None


def has_columns(header: Sequence[str]) -> bool:
    """Return whether a CSV file with this first row is an offer file."""
    return header[:1] == [_METADATA_CELL]


def read(files: Sequence[CatalogFile], instances: KnownInstances, _provider: str | None) -> list[PublishedPrices]:
    """Read offer files, each as one catalog. Raises msgspec.DecodeError if one in JSON is not an
    offer file."""
    return [_read_file(file, instances) for file in files]


def _read_file(file: CatalogFile, instances: KnownInstances) -> PublishedPrices:
    if is_json(file):
        return _read_json_file(read_json(file), instances)
    with open_regular(file.path) as stream:
        return _read_csv_file(CsvTable(stream, file.location), instances)


def _read_csv_file(table: CsvTable, instances: KnownInstances) -> PublishedPrices:
    """Read an offer file in CSV, whose first rows are metadata."""
    unused_rows, as_of, metadata_rows = UnusedRows(), None, 0
    while table.header and table.header[0] != _FIRST_COLUMN:
        metadata_rows += 1
        if metadata_rows > _MAX_METADATA_ROWS:
            raise UsageError(f"{table.location}: the column {_FIRST_COLUMN!r} is missing")
        if table.header[0] == _PUBLICATION_DATE and len(table.header) > 1:
            as_of = parse_date(table.header[1])
        table.read_header()
    return build_published_prices("aws", _iter_csv_prices(table, instances, unused_rows), unused_rows, as_of)


def _iter_csv_prices(table: CsvTable, instances: KnownInstances, unused_rows: UnusedRows) -> Iterator[ListedPrice]:
    for row in table.iter_rows(_REQUIRED_COLUMNS, _OPTIONAL_COLUMNS):
        terms = _Terms(row["TermType"], row["LeaseContractLength"], row["PurchaseOption"], row["OfferingClass"])
        kind = _find_kind(terms)
        is_plain = _is_plain_linux(
            row["Operating System"], row["Tenancy"], row["Pre Installed S/W"], row["CapacityStatus"]
        ) and row["MarketOption"] in ("", "OnDemand")
        if kind is None or not is_plain or instances.find("aws", row["Instance Type"]) is None:
            unused_rows.other_count += 1
            continue
        yield ListedPrice(
            provider="aws",
            instance_type=row["Instance Type"],
            region=row["Region Code"],
            kind=kind,
            amount=parse_amount(row["PricePerUnit"]),
            currencies=(row["Currency"],),
            is_hourly=row["Unit"] == "Hrs",
            accelerator_count=parse_count(row["GPU"]),
            effective_on=parse_date(row["EffectiveDate"]),
        )


def _is_plain_linux(operating_system: str, tenancy: str, software: str, capacity_status: str) -> bool:
    return (operating_system, tenancy, capacity_status) == ("Linux", "Shared", "Used") and software in ("", "NA")


class _Attributes(msgspec.Struct, frozen=True, rename="camel"):
    instance_type: str = ""
    operating_system: str = ""
    tenancy: str = ""
    pre_installed_sw: str = ""
    capacity_status: str = msgspec.field(default="", name="capacitystatus")
    region_code: str = ""
    market_option: str = msgspec.field(default="", name="marketoption")
    gpu: str = ""


class _Product(msgspec.Struct, frozen=True):
    attributes: _Attributes


class _PriceDimension(msgspec.Struct, frozen=True, rename="camel"):
    unit: str
    price_per_unit: dict[str, str]


class _TermAttributes(msgspec.Struct, frozen=True):
    lease: str = msgspec.field(default="", name="LeaseContractLength")
    purchase_option: str = msgspec.field(default="", name="PurchaseOption")
    offering_class: str = msgspec.field(default="", name="OfferingClass")


class _Term(msgspec.Struct, frozen=True, rename="camel"):
    price_dimensions: dict[str, _PriceDimension]
    effective_date: str = ""
    term_attributes: _TermAttributes = _TermAttributes()


class _OfferFile(msgspec.Struct, frozen=True, rename="camel"):
    products: dict[str, msgspec.Raw]
    terms: dict[str, dict[str, msgspec.Raw]]
    publication_date: str = ""


def _read_json_file(content: bytes, instances: KnownInstances) -> PublishedPrices:
    """Read an offer file in JSON. Raises msgspec.DecodeError if it is not an offer file."""
    offer_file, unused_rows = decode_json(content, _OfferFile), UnusedRows()
    products = _find_products(offer_file.products, instances, unused_rows)
    prices = (
        price
        for term_type, terms in offer_file.terms.items()
        for price in _iter_json_prices(term_type, terms, products, unused_rows)
    )
    return build_published_prices("aws", prices, unused_rows, parse_date(offer_file.publication_date))


def _find_products(
    products: Mapping[str, msgspec.Raw], instances: KnownInstances, unused_rows: UnusedRows
) -> dict[str, _Attributes]:
    """Return the attributes of plain Linux instances of known types, by SKU."""
    decode, known_products = json_decoder(_Product), {}
    for sku, product in products.items():
        try:
            attributes = decode(product).attributes
        except msgspec.DecodeError as error:
            unused_rows.add_unreadable(f"products.{sku:.30}", str(error))
            continue
        is_plain = _is_plain_linux(
            attributes.operating_system, attributes.tenancy, attributes.pre_installed_sw, attributes.capacity_status
        ) and attributes.market_option in ("", "OnDemand")
        if is_plain and instances.find("aws", attributes.instance_type) is not None:
            known_products[sku] = attributes
        else:
            unused_rows.other_count += 1
    return known_products


def _iter_json_prices(
    term_type: str, terms: Mapping[str, msgspec.Raw], products: Mapping[str, _Attributes], unused_rows: UnusedRows
) -> Iterator[ListedPrice]:
    decode = json_decoder(dict[str, _Term])
    for sku, attributes in products.items():
        if sku not in terms:
            continue
        try:
            sku_terms = decode(terms[sku])
        except msgspec.DecodeError as error:
            unused_rows.add_unreadable(f"terms.{term_type:.20}.{sku:.30}", str(error))
            continue
        for term in sku_terms.values():
            lease = term.term_attributes
            kind = _find_kind(_Terms(term_type, lease.lease, lease.purchase_option, lease.offering_class))
            if kind is not None:
                yield from _iter_dimensions(kind, term, attributes)


def _iter_dimensions(kind: RequestedPrice, term: _Term, attributes: _Attributes) -> Iterator[ListedPrice]:
    for dimension in term.price_dimensions.values():
        for amount in set(dimension.price_per_unit.values()) or {""}:
            yield ListedPrice(
                provider="aws",
                instance_type=attributes.instance_type,
                region=attributes.region_code,
                kind=kind,
                amount=parse_amount(amount),
                currencies=tuple(sorted(dimension.price_per_unit)),
                is_hourly=dimension.unit == "Hrs",
                accelerator_count=parse_count(attributes.gpu),
                effective_on=parse_date(term.effective_date),
            )
