"""A price list; the first byte chooses CSV or YAML."""

from __future__ import annotations

import datetime
from collections.abc import Iterable

from app.profiles.pricing.catalog import load_bundled_catalog
from app.profiles.pricing.price_list import read_price_list
from tests.fuzz.scratch import ROOT, input_file


def read(data: bytes) -> None:
    with input_file(data, "offers.csv", "offers.yaml") as path:
        read_price_list(path, load_bundled_catalog(), datetime.date(2026, 11, 28))


def seeds() -> Iterable[bytes]:
    lines = (ROOT / "profiles" / "hardware" / "offers.csv").read_bytes().splitlines(keepends=True)
    yield b"\0" + b"".join(lines[:4])
    yield b"\1- {offer: mine/box, accelerator: null, accelerator_count: 0, vcpus: 8, price: 0.4 USD/hour}\n"
