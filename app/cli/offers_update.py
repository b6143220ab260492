"""Update the stored price list from published catalogs: show the difference, and store it after
confirmation."""

from __future__ import annotations

import datetime
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from app.cli.streams import print_whole
from app.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from app.profiles.pricing.price_update import DatedCatalog, PriceUpdate, UpdateRules
    from app.profiles.pricing.published.files import CatalogFile
    from app.profiles.pricing.published.listed import KnownInstances
    from app.records.offers import Catalog
    from reports.sections.section import Cell, Column

_CHANGE_HEADER = ("offer", "price", "old USD/h", "new USD/h", "change")
_REFUSED_HEADER = ("refused", "price", "old USD/h", "listed", "reason")
_MAX_SHOWN_PROBLEMS = 10


class UpdateOptions(NamedTuple):
    """Values of the argument and the options of `offers update`."""

    sources: tuple[str, ...]
    format: str | None
    provider: str | None
    region: tuple[str, ...]
    date: datetime.date | None
    max_change: float
    accept: tuple[str, ...]
    yes: bool


class _DatedFile(NamedTuple):
    """File of a catalog, and its date. `origin` is stored with its prices: the address without its
    query, or the file name without the folder, which would show the names of users and machines."""

    file: CatalogFile
    origin: str
    as_of: datetime.date


def update_offers(options: UpdateOptions, today: datetime.date) -> int:
    from app.profiles.pricing.catalog import load_catalog
    from app.profiles.pricing.price_update import MAX_REFUSED_SHARE, compare_prices
    from app.profiles.pricing.published.listed import index_instances

    current = load_catalog()
    rules = _parse_rules(options, current)
    with tempfile.TemporaryDirectory(prefix="sizewise-prices-") as directory:
        catalogs = _read_sources(options, index_instances(current), Path(directory), today)
    update = compare_prices(catalogs, current, rules, today)
    _print_update(update, catalogs)
    if update.refused_share > MAX_REFUSED_SHARE:
        raise UsageError(
            f"{update.refused_share:.0%} of the prices were refused, more than {MAX_REFUSED_SHARE:.0%}: nothing was "
            "stored",
            hint="Check the layout, the currency and the unit of the catalog. `--max-change` and `--accept` take "
            "outliers that are right.",
        )
    if not update.rows:
        print("There is nothing to store.", file=sys.stderr)
        return ExitCode.OK
    if not options.yes and not _prompt_for_confirmation():
        print("Nothing was stored. Add --yes to store these prices.", file=sys.stderr)
        return ExitCode.OK
    _store(update, catalogs, today)
    return ExitCode.OK


def _parse_rules(options: UpdateOptions, current: Catalog) -> UpdateRules:
    from app.profiles.pricing.price_cells import parse_cell
    from app.profiles.pricing.price_update import UpdateRules
    from app.profiles.problems import BadValueError, did_you_mean
    from app.records.offers import split_key

    providers = sorted({offer.provider for offer in current.offers})
    if options.provider is not None and options.provider not in providers:
        hint = did_you_mean(options.provider, providers)
        raise UsageError(f"the provider {options.provider!r:.60} is unknown", hint=hint)
    instances = {offer.instance for offer in current.offers}
    unknown_key = next((key for key in options.accept if split_key(key)[0] not in instances), None)
    if unknown_key is not None:
        hint = did_you_mean(unknown_key, [offer.key for offer in current.offers])
        raise UsageError(f"--accept: the offer {unknown_key!r:.100} is unknown", hint=hint)
    try:
        regions = frozenset(parse_cell("region", region) for region in options.region)
    except BadValueError as error:
        raise UsageError(f"--{error}", hint=error.hint) from error
    return UpdateRules(max_change=options.max_change, accepted=frozenset(options.accept), regions=regions)


def _read_sources(
    options: UpdateOptions, instances: KnownInstances, directory: Path, today: datetime.date
) -> list[DatedCatalog]:
    """Read the sources, each with its date: that of the command line, of the catalog, or of the
    file."""
    from app.profiles.pricing.price_update import DatedCatalog
    from app.profiles.pricing.published.reading import detect_format, find_next_page, read_catalog
    from app.records.price_layouts import LAYOUTS

    dated_files = [
        dated_file
        for index, source in enumerate(options.sources)
        for dated_file in _open_source(source, directory / str(index), today)
    ]
    files = [dated_file.file for dated_file in dated_files]
    layout_id = options.format or detect_format(files[0])
    layout = next(layout for layout in LAYOUTS if layout.id == layout_id)
    all_prices = read_catalog(files, layout.id, instances, options.provider)
    if len(all_prices) < len(files):  # the pages of one catalog
        earliest_date = min(dated_file.as_of for dated_file in dated_files)
        dated_files = [dated_files[0]._replace(as_of=earliest_date)]
    if layout.has_pages and any(find_next_page(files[-1])):
        print(f"{files[-1].location} is not the last page. The following pages were not read.", file=sys.stderr)
    catalogs = []
    for prices, dated_file in zip(all_prices, dated_files, strict=True):
        as_of = options.date or prices.as_of or dated_file.as_of
        if as_of > today:
            raise UsageError(
                f"{dated_file.file.location}: the date of the prices, {as_of}, is in the future (today is {today})",
                hint="Set the date of the prices with --date.",
            )
        catalogs.append(DatedCatalog(prices, f"{layout.id}:{dated_file.origin}", as_of))
    return catalogs


def _open_source(source: str, directory: Path, today: datetime.date) -> Iterator[_DatedFile]:
    """Yield the files of a source with the dates of their last change, or today if a server does not
    report it."""
    from app.profiles.pricing.published.files import CatalogFile
    from app.wiring.price_download import download_catalog, format_location, is_url

    if is_url(source):
        print(f"Downloading {format_location(source)}", file=sys.stderr)
        directory.mkdir()
        for download in download_catalog(source, directory):
            file_date = min(download.modified_on or today, today)
            yield _DatedFile(download.file, download.file.location, file_date)
        return
    path = Path(source)
    try:
        modified_s = path.stat().st_mtime
        if not path.is_file():
            raise UsageError(f"{source} is not a file")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else None
        raise UsageError(f"{source} cannot be read: {reason or 'invalid path'}") from error
    file_date = min(datetime.datetime.fromtimestamp(modified_s, datetime.UTC).date(), today)
    origin = path.name.replace("+", "%2B")  # a plus sign separates the sources of an offer
    yield _DatedFile(CatalogFile(path, str(path), path.name), origin, file_date)


def _print_update(update: PriceUpdate, catalogs: Sequence[DatedCatalog]) -> None:
    from app.cli.tables import format_table

    for source, as_of in dict.fromkeys((catalog.source, catalog.as_of) for catalog in catalogs):
        print(f"{source}, prices of {as_of}")
    changes: list[tuple[Cell, ...]] = [
        (
            change.key,
            change.kind,
            _format_usd(change.old_usd),
            _format_usd(change.new_usd),
            _format_change(change.old_usd, change.new_usd),
        )
        for change in update.changes
    ]
    changes += [
        (offer.key, "on-demand", _format_usd(offer.on_demand_usd_per_hour), "", "not found")
        for offer in update.not_found
    ]
    if changes:
        print_whole("\n" + format_table(_build_columns(_CHANGE_HEADER), changes))
    if update.refused:
        rows: list[tuple[Cell, ...]] = [
            (price.key, price.kind, _format_usd(price.old_usd), _format_usd(price.listed), price.text)
            for price in update.refused
        ]
        print_whole("\n" + format_table(_build_columns(_REFUSED_HEADER), rows))
    problems = [problem for catalog in catalogs for problem in catalog.prices.problems]
    if problems:
        print("\nRows that cannot be read:")
        print("\n".join(problems[:_MAX_SHOWN_PROBLEMS]))
    print()
    for line in _list_counts(update):
        print(line)


def _build_columns(titles: Sequence[str]) -> list[Column[tuple[Cell, ...]]]:
    """Return the columns of a table whose rows are tuples of cells."""
    from reports.sections.section import Column

    def read(index: int) -> Callable[[tuple[Cell, ...]], Cell]:
        return lambda row: row[index]

    return [Column("", title, read(index)) for index, title in enumerate(titles)]


def _list_counts(update: PriceUpdate) -> Iterator[str]:
    new_count = sum(change.old_usd is None for change in update.changes)
    yield (
        f"{len(update.changes) - new_count:,} changed, {new_count:,} new, {update.confirmed:,} confirmed, "
        f"{len(update.not_found):,} not found (they keep their prices), {len(update.refused):,} refused, "
        f"{update.unreadable_rows:,} unreadable."
    )
    counts = {
        "Kept, because they are of your own price list": update.unchanged_own,
        "Kept, because the current price is newer": update.unchanged_newer,
        "In other regions (add them with --region)": update.other_regions,
        "Rows of other products or instance types": update.other_rows,
    }
    yield from (f"{label}: {count:,}" for label, count in counts.items() if count)


def _format_usd(usd: float | None) -> str:
    return "" if usd is None else f"{usd:.5g}"


def _format_change(old_usd: float | None, new_usd: float) -> str:
    return "new" if old_usd is None else f"{100 * (new_usd / old_usd - 1):+.1f} %"


def _prompt_for_confirmation() -> bool:
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    sys.stderr.write("Store these prices? [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().casefold() in ("y", "yes")


def _store(update: PriceUpdate, catalogs: Sequence[DatedCatalog], today: datetime.date) -> None:
    from app.profiles.pricing.catalog import load_imported_price_list
    from app.profiles.pricing.price_update import merge_into_list
    from app.wiring.price_list import store_price_list

    source = ", ".join(dict.fromkeys(catalog.source for catalog in catalogs))
    path = store_price_list(merge_into_list(load_imported_price_list(), update, source, today))
    print(f"The prices were stored in {path}.")
