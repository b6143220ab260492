"""Read a `vms.csv` file of SkyPilot's catalog. Each file lists one provider, which the file does not
name.

On GCP, the price of an accelerator is listed apart from that of its machine, in rows without an
instance type. Prices of Cloud TPUs include the machine.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from app.errors import UsageError
from app.profiles.pricing.published.csv_table import CsvTable
from app.profiles.pricing.published.files import CatalogFile
from app.profiles.pricing.published.listed import (
    KnownInstances,
    ListedPrice,
    PublishedPrices,
    UnusedRows,
    build_published_prices,
    parse_amount,
    parse_count,
    sum_parts,
)
from app.records.offers import Offer, RequestedPrice
from loadgen.regular_files import open_regular

_MAX_BYTES = 2**26
_REQUIRED_COLUMNS = ("InstanceType", "Price", "Region")
_OPTIONAL_COLUMNS = ("SpotPrice", "AvailabilityZone", "AcceleratorName", "AcceleratorCount")
_PRICE_COLUMNS: dict[str, RequestedPrice] = {"Price": "on-demand", "SpotPrice": "spot"}
_BROKERED_PROVIDERS = {"lambdalabs": "lambda"}
"""Providers whose name in the list of a broker differs from the name in Sizewise."""
_GCP_ACCELERATORS = {
    "t4": "T4",
    "p4": "P4",
    "p100-pcie-16gb": "P100",
    "v100-sxm2-16gb": "V100",
    "a100-sxm4-40gb": "A100",
    "a100-sxm4-80gb": "A100-80GB",
    "l4": "L4",
    "h100-sxm5-80gb": "H100",
    "rtx-pro-6000-server": "RTX-PRO-6000",
}
_TPU_MACHINE = re.compile(r"(ct6e|ct5lp|ct5p)-[a-z]+-(\d+)t")
_TPU_NAMES = {"ct6e": ("tpu-v6e", 1), "ct5lp": ("tpu-v5litepod", 1), "ct5p": ("tpu-v5p", 2)}
"""Name of the accelerator of a TPU machine, and the number in the name for each chip: v5p counts
cores."""


class _Place(NamedTuple):
    region: str
    zone: str
    kind: RequestedPrice


class _Component(NamedTuple):
    """Instance type or accelerators, with the number of accelerators; 0 for an instance type."""

    name: str
    accelerator_count: float


_Amounts = dict[_Component, dict[_Place, list[float | None]]]
"""Amounts of each component in each place; None for something else than a number."""


def has_columns(header: Sequence[str]) -> bool:
    """Return whether a CSV file with this first row is one of this catalog."""
    return set(header).issuperset(_REQUIRED_COLUMNS)


def read(files: Sequence[CatalogFile], instances: KnownInstances, provider: str | None) -> list[PublishedPrices]:
    """Read files, each as one catalog."""
    catalogs = []
    for file in files:
        with open_regular(file.path) as stream:
            catalogs.append(_read_table(CsvTable(stream, file.location, _MAX_BYTES), instances, provider))
    return catalogs


def _read_table(table: CsvTable, instances: KnownInstances, provider: str | None) -> PublishedPrices:
    """Read a file. If `provider` is None, it is the provider with most of the file's instance
    types.

    Raises UsageError if the provider cannot be determined.
    """
    unused_rows = UnusedRows()
    listed_rows = list(table.iter_rows(_REQUIRED_COLUMNS, _OPTIONAL_COLUMNS))
    provider = provider or _find_provider(listed_rows, instances, table)
    if provider == "gcp":
        prices = _combine_gcp_prices(listed_rows, instances, unused_rows)
    else:
        prices = _iter_prices(listed_rows, provider, instances, unused_rows)
    return build_published_prices("skypilot", prices, unused_rows)


def _find_provider(rows: list[dict[str, str]], instances: KnownInstances, table: CsvTable) -> str:
    names = {row["InstanceType"] for row in rows}
    if any(_split_brokered_name(name, instances) is not None for name in names):
        return ""
    counts = Counter(
        {
            provider: len(names & {name.partition("+")[0] for name in offers})
            for provider, offers in instances.offers.items()
        }
    )
    (best, count), (_, next_count) = [*counts.most_common(2), ("", 0), ("", 0)][:2]
    if count == next_count and count > 0:
        raise UsageError(
            f"{table.location}: several providers have the instance types of this file",
            hint="Name the provider with --provider.",
        )
    return best if count else ""


def _split_brokered_name(name: str, instances: KnownInstances) -> tuple[str, str] | None:
    """Return the provider and the instance type of a broker's name, such as `crusoe_L40Sx8`; `None`
    for other names."""
    prefix, _, instance_type = name.partition("_")
    provider = _BROKERED_PROVIDERS.get(prefix, prefix)
    return (provider, instance_type) if instances.find(provider, instance_type) is not None else None


def _iter_prices(
    listed_rows: list[dict[str, str]], provider: str, instances: KnownInstances, unused_rows: UnusedRows
) -> Iterator[ListedPrice]:
    for row in listed_rows:
        name = _split_brokered_name(row["InstanceType"], instances) or (provider, row["InstanceType"])
        if instances.find(*name) is None:
            unused_rows.other_count += 1
            continue
        for column, kind in _PRICE_COLUMNS.items():
            if row[column]:
                yield ListedPrice(
                    provider=name[0],
                    instance_type=name[1],
                    region=row["Region"],
                    zone=row["AvailabilityZone"],
                    kind=kind,
                    amount=parse_amount(row[column]),
                    accelerator_count=parse_count(row["AcceleratorCount"]),
                )


def _combine_gcp_prices(
    listed_rows: list[dict[str, str]], instances: KnownInstances, unused_rows: UnusedRows
) -> Iterator[ListedPrice]:
    """Yield the prices of GCP's machines with their accelerators, in the zones that list both."""
    offers = instances.offers.get("gcp", {})
    components = {component for offer in offers.values() for component in _list_components(offer)}
    amounts: _Amounts = defaultdict(lambda: defaultdict(list))
    for row in listed_rows:
        count = parse_count(row["AcceleratorCount"]) or 0.0
        component = (
            _Component(row["InstanceType"], 0.0) if row["InstanceType"] else _Component(row["AcceleratorName"], count)
        )
        if component not in components:
            unused_rows.other_count += 1
            continue
        for column, kind in _PRICE_COLUMNS.items():
            if row[column]:
                amounts[component][_Place(row["Region"], row["AvailabilityZone"], kind)].append(
                    parse_amount(row[column])
                )
    for offer in offers.values():
        yield from _iter_sums(offer, amounts)


def _list_components(offer: Offer) -> tuple[_Component, ...]:
    """Return the rows whose prices make up the price of a GCP machine; none if one of them is not
    known."""
    tpu = _TPU_MACHINE.fullmatch(offer.instance_type)
    if tpu is not None:
        name, cores_per_chip = _TPU_NAMES[tpu[1]]
        return (_Component(f"{name}-{int(tpu[2]) * cores_per_chip}", 1.0),)
    host = _Component(offer.instance_type.partition("+")[0], 0.0)
    if offer.accelerator is None:
        return (host,)
    name = "H100-MEGA" if offer.instance_type.startswith("a3-megagpu") else _GCP_ACCELERATORS.get(offer.accelerator, "")
    return (host, _Component(name, offer.accelerator_count)) if name else ()


def _iter_sums(offer: Offer, amounts: _Amounts) -> Iterator[ListedPrice]:
    components = _list_components(offer)
    if not components or any(component not in amounts for component in components):
        return
    shared_places = set.intersection(*(set(amounts[component]) for component in components))
    for place in sorted(shared_places):
        listed_amounts = [sorted(amounts[component][place], key=str) for component in components]
        # Two different sums, if a part has contradictory prices.
        for amount in {sum_parts([part[index] for part in listed_amounts]) for index in (0, -1)}:
            yield ListedPrice(
                provider="gcp",
                instance_type=offer.instance_type,
                region=place.region,
                zone=place.zone,
                kind=place.kind,
                amount=amount,
            )
