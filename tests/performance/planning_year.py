"""How long a year of minutes takes for the fleets of 300 offers. Budget: 1 s warm."""

from __future__ import annotations

import datetime
import time

import numpy as np

from app.planning.pricing.year import count_hourly_replicas, simulate_year
from app.planning.sizing.demand import compute_year_rates_per_s
from app.records.traffic import RecurringSpike, Traffic

DESIGNS = 300
TODAY = datetime.date(2026, 1, 1)


def main() -> None:
    day = tuple(0.55 - 0.45 * float(np.cos((hour - 3) / 12 * np.pi)) for hour in range(24))
    traffic = Traffic(900.0, "day", day, 0.2, spikes=(RecurringSpike(43_200.0, 600.0, 3.0, (4,)),))
    start_s = time.perf_counter()
    rates = compute_year_rates_per_s(traffic, TODAY)
    print(f"{len(rates):,} minutes of rates: {1e3 * (time.perf_counter() - start_s):.0f} ms")
    for label, factors in (("from half the peak to twice", (0.5, 2.0)), ("all overloaded", (0.3, 0.5))):
        capacities = 900.0 * np.linspace(*factors, DESIGNS)
        _measure(f"{DESIGNS} designs, {label}", rates, capacities)
        _measure(f"{DESIGNS} designs by the hour, {label}", rates, np.repeat(capacities[:, None], 8_760, axis=1))
    start_s = time.perf_counter()
    count_hourly_replicas(rates, np.linspace(5, 50, DESIGNS))
    print(f"replicas of every hour: {1e3 * (time.perf_counter() - start_s):.0f} ms")


def _measure(label: str, rates: np.ndarray, capacities: np.ndarray) -> None:
    seconds = []
    for _ in range(4):
        start_s = time.perf_counter()
        simulate_year(rates, capacities)
        seconds.append(time.perf_counter() - start_s)
    print(f"{label}: first {seconds[0]:.2f} s, then {', '.join(f'{later_s:.2f}' for later_s in seconds[1:])} s")


if __name__ == "__main__":
    main()
