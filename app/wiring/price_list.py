"""Store the price list that applies to all plans."""

from __future__ import annotations

from pathlib import Path

from app.errors import UsageError
from app.profiles.pricing.catalog import encode_price_list, get_price_list_path
from app.records.offers import PriceList
from app.storage.run_directory import write_atomically


def store_price_list(price_list: PriceList) -> Path:
    """Store a price list, and return its path. Raises UsageError if it cannot be written."""
    destination = get_price_list_path()
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(destination, encode_price_list(price_list))
    except OSError as error:
        raise UsageError(f"{destination} cannot be written: {error.strerror}") from error
    return destination
