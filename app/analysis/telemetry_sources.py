"""Where readings come from: this machine, or pages of others."""

from __future__ import annotations

import pandas as pd


def elsewhere(telemetry: pd.DataFrame) -> frozenset[str]:
    """The sources that are pages of other servers, and what those tell of: `scrape1`, `scrape1/gpu0`."""
    pages = set(telemetry.loc[telemetry["metric"] == "scrape_ok", "source"].unique())
    return frozenset(str(one) for one in telemetry["source"].unique() if str(one).partition("/")[0] in pages)
