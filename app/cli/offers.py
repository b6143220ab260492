"""List the offers of cloud providers and owned hardware, check or import a price list, and update the
prices from published catalogs."""

from __future__ import annotations

import datetime
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import click

from app.cli.commands import ACCELERATOR_SYNONYMS, PATH, Command, CommandGroup, CommandOption
from app.cli.offers_update import UpdateOptions, update_offers
from app.cli.options import OutputOptions, output_options, parse_output
from app.cli.streams import print_whole
from app.errors import ExitCode, UsageError
from app.records.price_layouts import LAYOUT_IDS, LAYOUTS

if TYPE_CHECKING:
    from app.profiles.pricing.price_list import ParsedPriceList
    from app.records.offers import Offer, PriceList
    from app.reporting.offer_rows import PriceListRow
    from reports.sections.section import Column


DEFAULT_MAX_CHANGE = 2.0
_MAX_CHANGE_LIMIT = 1_000.0
_LAYOUT_NAMES = ", ".join(f"{layout.id} ({layout.label})" if layout.label else layout.id for layout in LAYOUTS)


def _get_today() -> datetime.date:
    return datetime.datetime.now(datetime.UTC).date()


def _list_offers(
    accelerator: str | None, region: str | None, provider: str | None, requested_output: OutputOptions
) -> int:
    from app.cli.tables import format_table, print_json
    from app.reporting.offer_rows import build_offer_row, find_offers, load_offers

    output = parse_output(requested_output)
    offers = find_offers(
        load_offers(),
        accelerator=accelerator,
        region=region,
        provider=provider,
    )
    if output == "json":
        print_json([_build_json_row(offer, _get_today()) for offer in offers])
    else:
        print_whole(format_table(_build_columns(), [build_offer_row(offer, _get_today()) for offer in offers], output))
    return 0


def _build_columns() -> tuple[Column[PriceListRow], ...]:
    from reports.sections.section import Column

    return (
        Column("offer", "offer"),
        Column("accelerator", "accelerator"),
        Column("vcpus", "vCPUs"),
        Column("memory_gib", "GiB"),
        Column("usd_per_hour", "USD/h"),
        Column("spot_usd_per_hour", "spot"),
        Column("reserved_1y_usd_per_hour", "reserved 1y"),
        Column("as_of", "", lambda row: row.as_of.isoformat()),
        Column("price_age_days", "age (days)", lambda row: row.age_days),
        Column("source", "source"),
        Column("custom", "custom", lambda row: row.overrides),
    )


def _build_json_row(offer: Offer, today: datetime.date) -> dict[str, object]:
    import msgspec

    from app.planning.hardware.risk import compute_price_age_days

    fields: dict[str, object] = msgspec.to_builtins(offer)
    return (
        {"key": offer.key}
        | fields
        | {"price_age_days": compute_price_age_days(offer, today), "is_yours": offer.is_customized}
    )


def _check_price_list(file: Path) -> int:
    price_list = _read_and_check(file, _get_today())
    if price_list.problems:
        _print_problems(price_list, sys.stdout)
        return ExitCode.USAGE
    print(f"{file} is valid ({_format_row_counts(price_list)})")
    return ExitCode.OK


def _import_price_list(file: Path) -> int:
    from app.records.offers import PriceList
    from app.wiring.price_list import store_price_list

    today = _get_today()
    price_list = _read_and_check(file, today)
    if price_list.problems:
        _print_problems(price_list, sys.stderr)
        raise UsageError(f"nothing was imported from {file}", hint="Fix the problems above and import it again.")
    previous_list = _load_previous_import()
    destination = store_price_list(PriceList(price_list.rows, str(file.resolve()), today))
    print(f"{file} was imported to {destination} ({_format_row_counts(price_list)})")
    if previous_list is not None:
        missing_count = len({row.key for row in previous_list.rows} - {row.key for row in price_list.rows})
        missing_text = (
            f"{missing_count} of its {len(previous_list.rows)} rows are not in the new list"
            if missing_count
            else "the new list has all of its rows"
        )
        print(
            f"It replaces the list imported from {previous_list.imported_from} on {previous_list.imported_on}: "
            f"{missing_text}. "
            "To use both lists, combine all rows in one file.",
            file=sys.stderr,
        )
    return ExitCode.OK


def _update_offers(options: UpdateOptions) -> int:
    return update_offers(options, _get_today())


def _print_template() -> int:
    from app.profiles.pricing.price_list import format_template

    print_whole(format_template(_get_today()), end="")
    return ExitCode.OK


def _load_previous_import() -> PriceList | None:
    """Return the previously imported price list, which the next import replaces; `None` if there is
    none or if the file cannot be read."""
    from app.profiles.pricing.catalog import load_imported_price_list

    try:
        return load_imported_price_list()
    except UsageError:
        return None


def _read_and_check(path: Path, today: datetime.date) -> ParsedPriceList:
    """Read a price list and validate its rows against the bundled catalog.

    The previous import is ignored, because the new price list replaces it.
    """
    from app.profiles.pricing.catalog import load_bundled_catalog
    from app.profiles.pricing.currencies import find_currency_warnings
    from app.profiles.pricing.price_list import read_price_list

    if not path.exists():
        raise UsageError(f"{path}: no such file", hint="Check the path.")
    price_list = read_price_list(path, load_bundled_catalog(), today)
    for warning in find_currency_warnings(price_list.values, today):
        print(warning, file=sys.stderr)
    return price_list


def _print_problems(price_list: ParsedPriceList, stream: TextIO) -> None:
    from app.profiles.pricing.price_list import MAX_PROBLEMS

    for problem in price_list.problems:
        print(f"{problem} ({problem.hint})" if problem.hint else problem, file=stream)
    if len(price_list.problems) == MAX_PROBLEMS:
        print(f"only the first {MAX_PROBLEMS} problems are shown", file=stream)


def _format_row_counts(price_list: ParsedPriceList) -> str:
    from app.profiles.pricing.catalog import load_bundled_catalog

    catalog_keys = {offer.key for offer in load_bundled_catalog().offers}
    override_count = sum(row.key in catalog_keys for row in price_list.rows)
    row_count = len(price_list.rows)
    rows_text = f"{row_count} row{'' if row_count == 1 else 's'}"
    return f"{rows_text}: {override_count} for offers of the catalog, {row_count - override_count} for new offers"


def _parse_date(text: str) -> datetime.date:
    try:
        return datetime.date.fromisoformat(text)
    except ValueError as error:
        raise click.BadParameter(f"{text!r} is not a date such as 2026-07-20") from error


def _parse_max_change(text: str) -> float:
    try:
        factor = float(text)
    except ValueError:
        factor = math.nan
    if not 1 < factor <= _MAX_CHANGE_LIMIT:  # NaN fails both comparisons
        raise click.BadParameter(f"{text!r} is not a factor above 1 and up to {_MAX_CHANGE_LIMIT:,.0f}, such as 3")
    return factor


_FILE_ARGUMENT = click.Argument(["file"], type=PATH, help=".csv with columns of the catalog, or .yaml")

COMMAND = CommandGroup(
    "offers",
    [
        Command(
            "list",
            _list_offers,
            [
                CommandOption(
                    ["--accelerator"],
                    metavar="KEY",
                    elsewhere=ACCELERATOR_SYNONYMS,
                    help="only offers with this accelerator, such as h100 or h100-sxm5-80gb; a short name lists all "
                    "variants, and none the CPU-only offers",
                ),
                CommandOption(["--region"], help="only offers in this region, such as us-east-1"),
                CommandOption(["--provider"], help="only offers of this provider, such as aws"),
                *output_options(),
            ],
            documentation="List the offers with price, price age and your own changes.",
            examples=("sizewise offers list --accelerator l4 --provider aws", "sizewise offers list --output csv"),
        ),
        Command(
            "check",
            _check_price_list,
            [_FILE_ARGUMENT],
            documentation="Validate a price list and print each problem with its line.",
            examples=("sizewise offers check prices.csv",),
        ),
        Command(
            "import",
            _import_price_list,
            [_FILE_ARGUMENT],
            documentation="Import a price list that overrides the bundled one in all plans.",
            examples=("sizewise offers import prices.csv",),
        ),
        Command(
            "template",
            _print_template,
            documentation="Print the header and one example row of a price list in CSV.",
            examples=("sizewise offers template > prices.csv",),
        ),
        Command(
            "update",
            _update_offers,
            [
                click.Argument(
                    ["sources"],
                    nargs=-1,
                    required=True,
                    help="files or http(s) addresses of one published catalog; several for regions or pages",
                ),
                CommandOption(
                    ["--format"],
                    type=click.Choice(LAYOUT_IDS),
                    metavar="LAYOUT",
                    help=f"layout of the catalog: {_LAYOUT_NAMES}; default: detected from the content",
                ),
                CommandOption(
                    ["--provider"],
                    metavar="NAME",
                    help="provider of a catalog that does not name it, such as lambda; default: detected",
                ),
                CommandOption(
                    ["--region"],
                    multiple=True,
                    metavar="NAME",
                    help="take only prices in this region, and add offers there; default: the regions of `offers list`",
                ),
                CommandOption(
                    ["--date"],
                    type=_parse_date,
                    metavar="DATE",
                    help="date of the prices; default: the date in the catalog, or of the file's last change",
                ),
                CommandOption(
                    ["--max-change"],
                    type=_parse_max_change,
                    default=DEFAULT_MAX_CHANGE,
                    metavar="FACTOR",
                    help="refuse prices that rise or fall by this factor or more, above 1 and up to "
                    f"{_MAX_CHANGE_LIMIT:,.0f} (default: {DEFAULT_MAX_CHANGE:g})",
                ),
                CommandOption(
                    ["--accept"],
                    multiple=True,
                    metavar="OFFER",
                    help="take the outliers of this offer, such as aws/g6.xlarge@us-east-1, after you checked them",
                ),
                CommandOption(
                    ["-y", "--yes"],
                    is_flag=True,
                    help="store the prices without asking; required if there is no terminal",
                ),
            ],
            documentation="Update prices from a published catalog, after showing what changes.\n\n"
            "Nothing is stored without a confirmation or --yes. Prices of your own price list stay as they are.",
            examples=("sizewise offers update vms.csv --date 2026-11-01", "sizewise offers update catalog.zip --yes"),
        ),
    ],
    documentation=__doc__,
)
