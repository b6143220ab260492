"""How lean the load worker is: `python tests/performance/load_worker.py [--full]`.

The worker has core 1 and its target core 0, where there are two. The peers, where installed, run in the same minute
against the same target. Last comes a 60 s stage with a freeze of 5 s. `--full` takes longer stages.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa

from loadgen.process import LoadProcess, start_module
from loadgen.records import REQUEST_SCHEMA, Endpoint, HttpWorkload, StagePlan
from loadgen.reference.scripted import Script, ScriptedServer

HERE = Path(__file__).parent
REPEATS = 3
CONNECTIONS = 64
NGINX = """
daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log;
events {{ worker_connections 4096; }}
http {{
    access_log off; keepalive_requests 100000000;
    client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};
    uwsgi_temp_path {folder}; scgi_temp_path {folder};
    server {{ listen 127.0.0.1:{port}; location / {{ default_type application/json; return 200 '{{}}'; }} }}
}}
"""


class Measured(NamedTuple):
    """`achieved`: of the arrivals, those sent before the stage's time was over."""

    achieved: float
    lag_p50_us: float
    lag_p99_us: float
    cpu_percent: float
    cpu_us_per_request: float
    per_s: float


@contextlib.contextmanager
def on_core(core: int) -> Iterator[None]:
    """Children started inside run on that core only; without two cores, anywhere."""
    cores = os.sched_getaffinity(0)
    if core in cores and len(cores) > 1:
        os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


@contextlib.contextmanager
def null_server() -> Iterator[str]:
    with on_core(0):
        child = start_module("loadgen.reference.null", stdout=subprocess.PIPE)
    with child:
        assert child.stdout is not None
        assert child.stdin is not None
        yield f"http://127.0.0.1:{int(child.stdout.readline())}"
        child.stdin.close()


@contextlib.contextmanager
def nginx(executable: str) -> Iterator[str]:
    with ScriptedServer(Script()) as once:
        port = once.port  # free again in a moment
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "nginx.conf"
        config.write_text(NGINX.format(folder=folder, port=port))
        with on_core(0):
            child = subprocess.Popen([executable, "-c", str(config), "-p", folder], stderr=subprocess.DEVNULL)
        try:
            _wait_for(port)
            yield f"http://127.0.0.1:{port}"
        finally:
            child.terminate()
            child.wait(10)


def _wait_for(port: int) -> None:
    deadline_s = time.monotonic() + 10
    while time.monotonic() < deadline_s:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise TimeoutError(f"nothing listens on port {port}")


def play(load: LoadProcess, rate_per_s: float, duration_s: float, arrivals: str = "poisson", seed: int = 1):
    batches: list[pa.RecordBatch] = []
    plan = StagePlan(0, "bench", arrivals, rate_per_s, duration_s, seed, drain_s=20)
    ended = load.run_stage(plan, batches.append, lambda _: None, lambda _: True)
    return ended, pa.Table.from_batches(batches, REQUEST_SCHEMA).to_pandas()


def measure(load: LoadProcess, rate_per_s: float, duration_s: float, seed: int) -> Measured:
    ended, rows = play(load, rate_per_s, duration_s, seed=seed)
    failed = rows["error"].notna().sum()
    assert failed == 0, f"{failed} requests failed: {rows['error'].value_counts().to_dict()}"
    lag_us = (rows["sent_ns"] - rows["intended_ns"]) / 1e3
    span_s = (rows["end_ns"].max() - ended.start_ns) / 1e9
    return Measured(
        achieved=float((rows["sent_ns"] < ended.start_ns + duration_s * 1e9).mean()),
        lag_p50_us=float(np.percentile(lag_us, 50)),
        lag_p99_us=float(np.percentile(lag_us, 99)),
        cpu_percent=100 * ended.cpu_s / span_s,
        cpu_us_per_request=1e6 * ended.cpu_s / len(rows),
        per_s=len(rows) / span_s,
    )


def measured_at(load: LoadProcess, rate_per_s: float, duration_s: float) -> Measured:
    """The median of each number over repeats, which is what a noisy neighbour disturbs least."""
    runs = [measure(load, rate_per_s, duration_s, seed) for seed in range(REPEATS)]
    return Measured(*(median(column) for column in zip(*runs, strict=True)))


def fast_http_user(url: str, seconds: float) -> tuple[float, float]:
    """Requests per second of CPU-bound closed loop, and CPU µs each."""
    command = [sys.executable, str(HERE / "fast_http_user.py"), url, "16", str(seconds)]
    with on_core(1):
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    requests, cpu_s = map(float, done.stdout.split())
    return requests / seconds, 1e6 * cpu_s / requests


def wrk(executable: str, url: str, seconds: float) -> tuple[float, float]:
    command = [executable, "-t1", "-c32", f"-d{seconds:.0f}s", url]
    with on_core(1):
        before = _children_cpu_s()
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
        cpu_s = _children_cpu_s() - before
    requests = next(int(line.split()[0]) for line in done.stdout.splitlines() if " requests in " in line)
    return requests / seconds, 1e6 * cpu_s / requests


def _children_cpu_s() -> float:
    times = os.times()
    return times.children_user + times.children_system


def bench_target(name: str, url: str, seconds: float) -> None:
    with on_core(1):
        load = LoadProcess()
    with load:
        load.configure(Endpoint(url, max_connections=CONNECTIONS), HttpWorkload())
        play(load, 5_000, 1)  # connections made, caches warm
        for rate in (2_000, 20_000):
            seen = measured_at(load, rate, seconds)
            print(
                f"{name:6} {rate:6,}/s  achieved {seen.achieved:7.2%}  lag p50 {seen.lag_p50_us:6.0f} µs"
                f"  p99 {seen.lag_p99_us:7.0f} µs  CPU {seen.cpu_percent:5.1f} %  {seen.cpu_us_per_request:.1f} µs each"
            )
        flood = measure(load, 120_000, seconds / 2, seed=0)
        print(f"{name:6} flooded    {flood.per_s:9,.0f}/s  {flood.cpu_us_per_request:5.1f} µs each")
    peers = {"FastHttpUser": fast_http_user(url, seconds)}
    if (executable := shutil.which("wrk")) is not None:
        peers["wrk"] = wrk(executable, url, seconds)
    for peer, (per_s, cpu_us) in peers.items():
        print(
            f"{name:6} {peer:12}{per_s:8,.0f}/s  {cpu_us:5.1f} µs each"
            f"  (the worker's rate is {flood.per_s / per_s:.2f} ×)"
        )


def bench_freeze() -> None:
    """500 of 6,000 arrivals wait a uniform 0 to 5 s, and all take 50 ms."""
    script = Script(delay_s=0.05, freeze_after_s=20, freeze_s=5)
    with ScriptedServer(script) as server, LoadProcess() as load:
        load.configure(Endpoint(server.url), HttpWorkload())
        _, rows = play(load, 100, 60, "constant")
    p95_ms, p99_ms = np.percentile(_latency_ms(rows), [95, 99])
    print(f"freeze of 5 s in 60 s: p95 {p95_ms:.0f} ms (2050 stated), p99 {p99_ms:.0f} ms (4450 stated)")


def _latency_ms(rows: pd.DataFrame) -> pd.Series[float]:
    return (rows["end_ns"] - rows["intended_ns"]) / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="stages of 20 s instead of 2")
    is_full = parser.parse_args().full
    seconds = 20.0 if is_full else 2.0
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores; medians of {REPEATS} × {seconds:g} s")
    with null_server() as url:
        bench_target("null", url, seconds)
    if (executable := shutil.which("nginx")) is not None:
        with nginx(executable) as url:
            bench_target("nginx", url, seconds)
    bench_freeze()
    print("budgets: at 2,000/s lag p50 ≤ 60 µs; at 20,000/s achieved ≥ 99 %, lag p99 ≤ 5 ms; flooded ≥ 0.6 × wrk")


if __name__ == "__main__":
    main()
