"""CPU cost of reading host details and metrics pages: `python -m tests.performance.scrapes`.

The budget is 1 % of a core for the host and three processes at 10 Hz, which is 1,000 µs a beat.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

from app.telemetry.host import DETAILS_INTERVAL_NS, HostReader
from app.telemetry.processes import ProcessReader
from app.telemetry.scrape import Scraper
from tests.fakes import exporters
from tests.fakes.metrics_page import http_response, metrics_page

BEATS_PER_S = 10
MODES = ("idle", "user", "system", "nice", "irq", "softirq", "steal", "iowait")


def main() -> None:
    children = [
        subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
        for _ in range(2)
    ]
    host, processes = HostReader(0), ProcessReader()
    for source, pid in zip("abc", [child.pid for child in children] + [os.getpid()], strict=True):
        processes.watch(source, pid)
    processes.read(0)
    due = iter(range(DETAILS_INTERVAL_NS, 10**18, DETAILS_INTERVAL_NS))
    host_us = cost_us(lambda: list(host.iterate_readings(0)))
    detail_us = cost_us(lambda: list(host.iterate_readings(next(due)))) - host_us
    processes_us = cost_us(lambda: list(processes.iterate_readings(1)))
    print(
        f"host {host_us:.0f} µs, its details {detail_us:.0f} µs once a second, three processes {processes_us:.0f} µs: ",
        end="",
    )
    print(f"{((host_us + processes_us) * BEATS_PER_S + detail_us) / 1e4:.2f} % of a core at {BEATS_PER_S} Hz")
    for child in children:
        child.communicate()
    for name, page, repeats in pages():
        show_scrape(name, page, repeats)


def pages() -> list[tuple[str, bytes, int]]:
    buckets = "".join(f'vllm:seconds_bucket{{engine="0",le="{at}",model_name="m"}} {at}\n' for at in range(900))
    cores = "".join(
        f'node_cpu_seconds_total{{cpu="{core}",mode="{mode}"}} 1.5\n' for core in range(64) for mode in MODES
    )
    gpus = b"".join(exporters.dcgm().replace(b'="0"', b'="%d"' % (2 * gpu)) for gpu in range(8))
    changing = "".join(f'a{{x="{at}",y{at}="1"}} 1\n' for at in range(300_000))
    return [
        ("vLLM, 900 buckets", buckets.encode() + exporters.VLLM, 100),
        ("node_exporter, 64 cores", cores.encode() + exporters.node(), 100),
        ("DCGM, 9 GPUs", gpus, 100),
        ("300,000 series of other names each", changing.encode(), 5),
    ]


def show_scrape(name: str, page: bytes, repeats: int) -> None:
    with metrics_page(http_response(page)) as server:
        scraper = Scraper(server.url, source="scrape1")
        readings = dict(scraper.read(0))
        assert readings["scrape1"]["scrape_ok"] == 1
        scrape_us = cost_us(lambda: scraper.read(0), repeats)
    count = sum(map(len, readings.values()))
    print(
        f"{name:36} {len(page) / 1024:6.0f} KiB {count:4} readings {scrape_us:8.0f} µs CPU a scrape, the server's too"
    )


def cost_us(sample: Callable[[], object], repeats: int = 200) -> float:
    """Median CPU time of a sample over five rounds."""
    sample()
    rounds = []
    for _ in range(5):
        start_s = time.process_time()
        for _ in range(repeats):
            sample()
        rounds.append((time.process_time() - start_s) / repeats * 1e6)
    return statistics.median(rounds)


if __name__ == "__main__":
    main()
