"""Offers tab: instance types to rent or own. The user's price list overrides the catalog, as in
`sizewise offers list`."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

import msgspec
import pandas as pd
from PySide6.QtWidgets import QFileDialog, QWidget

from app.gui.background import LatestRunner
from app.gui.formatting import NOT_AVAILABLE, format_money, format_plain
from app.gui.library.list_pane import ListPane
from app.gui.navigation import Navigation
from app.gui.widgets import EmptyState, button, label, vbox
from app.planning.hardware.risk import FRESH_PRICE_DAYS
from app.profiles.pricing.catalog import load_imported_price_list
from app.reporting.offer_rows import PriceListRow, build_offer_row, find_offers, load_offers


class Prices(msgspec.Struct, frozen=True):
    """Offers with prices. `imported_from` is the file of the user's price list, which overrides the
    catalog; None if no price list has been imported."""

    rows: tuple[PriceListRow, ...]
    imported_from: str | None
    imported_on: date | None

    @property
    def stale_count(self) -> int:
        """Number of offers whose price no longer counts as current."""
        return sum(row.age_days > FRESH_PRICE_DAYS for row in self.rows)


class OffersTab(QWidget):
    def __init__(self, navigation: Navigation) -> None:
        super().__init__()
        self._navigation = navigation
        self._prices: Prices | None = None
        price_columns = ("usd_per_hour", "spot_usd_per_hour", "reserved_1y_usd_per_hour")
        self.pane = ListPane(
            "Offers",
            "A plan can use these offers. Prices are in $/h, each with its date and source.",
            (
                _HEADERS,
                dict.fromkeys(price_columns, _format_price) | dict.fromkeys(("vcpus", "memory_gib"), _format_number),
            ),
            [],
            [button("Plan &with a price list…", self._choose_price_list)],
            EmptyState("Loading catalog…"),
        )
        self._note = label("", "muted", wrap=True)
        self.pane.footer.addWidget(self._note)
        vbox(self.pane, within=self)
        self._latest_prices: LatestRunner[Prices] = LatestRunner(self, self._show, navigation.notify_error)

    @property
    def note(self) -> str:
        return self._note.text()

    def enter(self) -> None:
        self._latest_prices.request(read_prices)

    def command_arguments(self) -> tuple[str, ...]:
        return ("offers", "list")

    def open_prices(self, path: Path) -> None:
        self._navigation.open_prices_requested.emit(path)

    def _show(self, prices: Prices) -> None:
        if prices == self._prices:
            return
        self._prices = prices
        self.pane.set_frame(_build_frame(prices.rows))
        count = len(prices.rows)
        lines = [f"There are {count} offers."]
        if prices.stale_count:
            lines = [f"WARN: {prices.stale_count} of {count} offers have prices older than {FRESH_PRICE_DAYS} days."]
        if prices.imported_from is not None:
            lines.append(
                f"Your price list {prices.imported_from}, imported on {prices.imported_on}, overrides the catalog."
            )
        else:
            lines.append("Import a price list with `sizewise offers import FILE`.")
        self._note.setText(" ".join(lines))

    def _choose_price_list(self) -> None:
        file_name, _ = QFileDialog.getOpenFileName(self, "Open price list", "", "Price lists (*.csv *.yaml *.yml)")
        if file_name:
            self.open_prices(Path(file_name))


def read_prices() -> Prices:
    """Read the catalog and the imported price list. This function can be called from any thread."""
    today = datetime.now(UTC).date()
    imported_prices = load_imported_price_list()
    rows = tuple(build_offer_row(offer, today) for offer in find_offers(load_offers()))
    return Prices(
        rows,
        None if imported_prices is None else imported_prices.imported_from,
        None if imported_prices is None else imported_prices.imported_on,
    )


_HEADERS = {
    "offer": "Offer",
    "accelerator": "Accelerator",
    "vcpus": "vCPUs",
    "memory_gib": "Memory (GiB)",
    "usd_per_hour": "On-demand ($/h)",
    "spot_usd_per_hour": "Spot ($/h)",
    "reserved_1y_usd_per_hour": "Reserved, 1 year ($/h)",
    "as_of": "Price date",
    "age_days": "Price age (days)",
    "source": "Source",
    "overrides": "Overridden prices",
}


def _build_frame(rows: tuple[PriceListRow, ...]) -> pd.DataFrame:
    frame = pd.DataFrame([msgspec.structs.asdict(row) for row in rows], columns=list(PriceListRow.__struct_fields__))
    return frame.assign(as_of=frame["as_of"].astype(str))


def _format_price(value: object) -> str:
    return format_money(value) if isinstance(value, int | float) and value == value else NOT_AVAILABLE


def _format_number(value: object) -> str:
    return format_plain(value) if isinstance(value, int | float) and value == value else NOT_AVAILABLE
