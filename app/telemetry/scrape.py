"""Readings of another machine, from the pages for Prometheus that it shows.

Which series of a stranger's page are kept, and under which names.

What known exporters call things, in this program's words and units.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from itertools import islice
from typing import NamedTuple

from app.telemetry.cgroup import busy_percent
from app.telemetry.metrics_page import LIMIT_S, Headers, Sample, ScrapedPage, fetch_page, samples, seconds_left
from loadgen.records import Tls
from loadgen.transport.address import address_of
from loadgen.transport.tls import tls_context

MOST_SERIES = 200
MOST_OTHER_SERIES = 100
"""Of exporters that are not known, so that they leave room for what is."""
MOST_NAME = 200
_MOST_SAMPLES = 5_000
_MOST_LABELS = 32
_NODE = frozenset((
    "node_memory_MemTotal_bytes", "node_memory_MemAvailable_bytes", "node_load1", "node_time_seconds",
    "node_network_receive_bytes_total", "node_network_transmit_bytes_total",
    "node_disk_read_bytes_total", "node_disk_written_bytes_total",
))  # fmt: skip
_CPU = "node_cpu_seconds_total"
"""Eight series a core: only their sums are told."""
_KNOWN = (
    "DCGM_", "nv_", "node_", "vllm:", "llamacpp:", "sglang:", "sizewise_endpoint_", "queue_", "revision_", "kn_",
    "request_preprocess_", "request_predict_", "request_postprocess_", "request_explain_", "process_",
)  # fmt: skip
_OF_RUNTIMES = ("go_", "python_", "promhttp_")
_OF_HISTOGRAMS = ("_bucket", "_created")


def chosen_samples(page: str, labels: Mapping[str, str]) -> list[Sample]:
    """Those worth keeping that carry the labels; of a very long page, the first of them."""
    worth_keeping = (one for one in samples(page) if _is_of_interest(one.name) and _carries(one, labels))
    return list(islice(worth_keeping, _MOST_SAMPLES))


def _is_of_interest(name: str) -> bool:
    if name.startswith("node_"):
        return name in _NODE or name == _CPU
    return not name.startswith(_OF_RUNTIMES) and not name.endswith(_OF_HISTOGRAMS)


def _carries(sample: Sample, wanted: Mapping[str, str]) -> bool:
    # most samples of a long page do not even hold the text
    if any(f'"{value}"' not in sample.labels_text for value in wanted.values() if value.isalnum()):
        return False
    labels = sample.labels() if wanted else {}
    return all(labels.get(name) == value for name, value in wanted.items())


def named_series(chosen: Iterable[Sample]) -> Iterator[tuple[str, Sample]]:
    """Each with its own name on the page, which holds no more labels than tell it from its likes.

    One whose name would be too long, or that is there twice, is left out.
    """
    by_name: dict[str, list[Sample]] = {}
    for sample in chosen:
        if sample.name != _CPU and len(sample.name) <= MOST_NAME:
            by_name.setdefault(sample.name, []).append(sample)
    for name, alike in by_name.items():
        if len(alike) == 1:
            yield name, alike[0]
            continue
        labels = [sample.labels() for sample in alike]
        telling = _telling_labels(labels)
        named: dict[str, Sample] = {}
        for sample, own in zip(alike, labels, strict=True):
            told = ",".join(f'{label}="{_plain(own[label])}"' for label in telling if label in own)
            named.setdefault(f"{name}{{{told}}}" if told else name, sample)
        yield from ((full, sample) for full, sample in named.items() if len(full) <= MOST_NAME)


def _telling_labels(labels: list[dict[str, str]]) -> list[str]:
    """As few as tell all apart, taken in the order in which they are written."""
    telling: list[str] = []
    told_apart = 1
    for label in list(dict.fromkeys(label for own in labels for label in own))[:_MOST_LABELS]:
        tried = [*telling, label]
        different = len({tuple(own.get(one) for one in tried) for own in labels})
        if different > told_apart:
            telling, told_apart = tried, different
        if told_apart == len(labels):
            break
    return telling


def _plain(value: str) -> str:
    escaped = value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
    return "".join(one if one.isprintable() else "?" for one in escaped)


class Kept:
    """The series that were kept first go on to be kept, so that a page of changing names fills no disk."""

    def __init__(self) -> None:
        self._names: set[str] = set()
        self._others = 0

    def takes(self, full_name: str, sample: Sample) -> bool:
        if full_name in self._names:
            return True
        is_other = not sample.name.startswith(_KNOWN)
        if len(self._names) >= MOST_SERIES or (is_other and self._others >= MOST_OTHER_SERIES):
            return False
        self._names.add(full_name)
        self._others += is_other
        return True


_GIB = 2**30
_NUMBER = re.compile(r"[0-9]{1,4}", re.ASCII)


class _Word(NamedTuple):
    """Several series of one place are added up, or the largest of them counts."""

    metric: str
    factor: float = 1.0
    is_added: bool = False


_OF_SERVER = {
    "vllm:num_requests_running": _Word("server_running_requests", is_added=True),
    "llamacpp:requests_processing": _Word("server_running_requests", is_added=True),
    "vllm:num_requests_waiting": _Word("server_waiting_requests", is_added=True),
    "llamacpp:requests_deferred": _Word("server_waiting_requests", is_added=True),
    "nv_inference_pending_request_count": _Word("server_waiting_requests", is_added=True),
    "sizewise_endpoint_queue_depth": _Word("server_waiting_requests", is_added=True),
    "vllm:kv_cache_usage_perc": _Word("server_kv_cache_percent", 100),
    "vllm:gpu_cache_usage_perc": _Word("server_kv_cache_percent", 100),
    "llamacpp:kv_cache_usage_ratio": _Word("server_kv_cache_percent", 100),
    "vllm:prompt_tokens_total": _Word("server_input_tokens_total", is_added=True),
    "llamacpp:prompt_tokens_total": _Word("server_input_tokens_total", is_added=True),
    "vllm:generation_tokens_total": _Word("server_output_tokens_total", is_added=True),
    "llamacpp:tokens_predicted_total": _Word("server_output_tokens_total", is_added=True),
    "vllm:num_preemptions_total": _Word("server_preemptions_total", is_added=True),
    "vllm:request_success_total": _Word("server_requests_total", is_added=True),
    "nv_inference_request_success": _Word("server_requests_total", is_added=True),
    "nv_inference_request_failure": _Word("server_requests_total", is_added=True),
    "sizewise_endpoint_requests_total": _Word("server_requests_total", is_added=True),
}
_OF_HOST = {
    "nv_cpu_utilization": _Word("host_cpu_percent", 100),
    "nv_cpu_memory_used_bytes": _Word("host_memory_gib", 1 / _GIB),
}
_OF_GPU_BY_DCGM = {
    "DCGM_FI_DEV_GPU_UTIL": _Word("gpu_utilisation_percent"),
    "DCGM_FI_DEV_MEM_COPY_UTIL": _Word("gpu_memory_busy_percent"),
    "DCGM_FI_DEV_FB_USED": _Word("gpu_memory_gib", 1 / 1024),
    "DCGM_FI_DEV_POWER_USAGE": _Word("gpu_power_w"),
    "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION": _Word("gpu_energy_j", 1e-3),
    "DCGM_FI_DEV_GPU_TEMP": _Word("gpu_temperature_c"),
    "DCGM_FI_DEV_MEMORY_TEMP": _Word("gpu_memory_temperature_c"),
    "DCGM_FI_DEV_SM_CLOCK": _Word("gpu_sm_clock_mhz"),
    "DCGM_FI_DEV_MEM_CLOCK": _Word("gpu_memory_clock_mhz"),
    "DCGM_FI_PROF_GR_ENGINE_ACTIVE": _Word("gpu_engine_active_percent", 100),
    "DCGM_FI_PROF_SM_ACTIVE": _Word("gpu_sm_active_percent", 100),
    "DCGM_FI_PROF_SM_OCCUPANCY": _Word("gpu_sm_occupancy_percent", 100),
    "DCGM_FI_PROF_PIPE_TENSOR_ACTIVE": _Word("gpu_tensor_active_percent", 100),
    "DCGM_FI_PROF_DRAM_ACTIVE": _Word("gpu_dram_active_percent", 100),
}
# of a part of a GPU, DCGM tells the power and the temperature of the whole
_OF_GPU_PART_BY_DCGM = {"DCGM_FI_DEV_FB_USED": _Word("gpu_mig_memory_gib", 1 / 1024)}
_OF_GPU_BY_TRITON = {
    "nv_gpu_utilization": _Word("gpu_utilisation_percent", 100),
    "nv_gpu_memory_used_bytes": _Word("gpu_memory_gib", 1 / _GIB),
    "nv_gpu_power_usage": _Word("gpu_power_w"),
    "nv_energy_consumption": _Word("gpu_energy_j"),
}


class ScrapeReadings:
    """Readings by place: "" is the server itself; the others are `host`, `gpu0`, `gpu0/mig3`."""

    def __init__(self) -> None:
        self.readings: dict[str, dict[str, float]] = {}
        self._uuids: dict[str, str] = {}
        self._ambiguous: set[str] = set()
        self._triton_gpus: dict[str, str] = {}

    def take(self, sample: Sample) -> None:
        if (word := _OF_SERVER.get(sample.name)) is not None:
            self._keep("", word, sample.value)
        elif (word := _OF_HOST.get(sample.name)) is not None:
            self._keep("host", word, sample.value)
        elif sample.name in _OF_GPU_BY_DCGM and not _is_blank_of_dcgm(sample.value):
            self._take_dcgm(sample)
        elif (word := _OF_GPU_BY_TRITON.get(sample.name)) is not None:
            # Triton names no index: its GPUs are counted in the order in which the page tells of them
            uuid = sample.labels().get("gpu_uuid", "")
            self._keep(self._triton_gpus.setdefault(uuid, f"gpu{len(self._triton_gpus)}"), word, sample.value)

    def _take_dcgm(self, sample: Sample) -> None:
        labels = sample.labels()
        gpu, part = labels.get("gpu", ""), labels.get("GPU_I_ID", "")
        if _NUMBER.fullmatch(gpu) is None or (part and _NUMBER.fullmatch(part) is None):
            return
        place = f"gpu{gpu}/mig{part}" if part else f"gpu{gpu}"
        word = (_OF_GPU_PART_BY_DCGM if part else _OF_GPU_BY_DCGM).get(sample.name)
        if word is not None and self._is_one_gpu(place, labels.get("UUID", "")):
            self._keep(place, word, sample.value)

    def _is_one_gpu(self, place: str, uuid: str) -> bool:
        """Where a page tells of several nodes, several GPUs have the same number: labels have to pick a node."""
        if place in self._ambiguous or self._uuids.setdefault(place, uuid) != uuid:
            self._ambiguous.add(place)
            self.readings.pop(place, None)
        return place not in self._ambiguous

    def _keep(self, place: str, word: _Word, value: float) -> None:
        value *= word.factor
        readings = self.readings.setdefault(place, {})
        before = readings.get(word.metric)
        if before is not None:
            value = before + value if word.is_added else max(before, value)
        if math.isfinite(value):
            readings[word.metric] = value


def _is_blank_of_dcgm(value: float) -> bool:
    """DCGM has numbers that mean "not supported" and the like, a handful from 2**31 − 16 and all from 2**47 on."""
    return 2**31 - 16 <= value < 2**31 or value >= 2**47


class NodeMetrics(NamedTuple):
    """What node_exporter tells of its machine. `cpu_s` is busy and all core-seconds since it started."""

    cpu_s: tuple[float, float] | None
    memory_gib: float | None
    clock_s: float | None


_ONE_A_NODE = ("node_memory_MemTotal_bytes", "node_memory_MemAvailable_bytes", "node_time_seconds")


def node_of(samples: Iterable[Sample]) -> NodeMetrics:
    by_mode: dict[str, float] = {}
    single: dict[str, float] = {}
    for sample in samples:
        if sample.name == "node_cpu_seconds_total":
            mode = sample.labels().get("mode", "")
            by_mode[mode] = by_mode.get(mode, 0.0) + sample.value
        elif sample.name in _ONE_A_NODE:
            if sample.name in single:  # a page of several nodes, of which labels have to pick one
                return NodeMetrics(None, None, None)
            single[sample.name] = sample.value
    everything = sum(by_mode.values())
    total, available = single.get("node_memory_MemTotal_bytes"), single.get("node_memory_MemAvailable_bytes")
    return NodeMetrics(
        cpu_s=(everything - by_mode.get("idle", 0.0) - by_mode.get("iowait", 0.0), everything) if by_mode else None,
        memory_gib=None if total is None or available is None else (total - available) / _GIB,
        clock_s=single.get("node_time_seconds"),
    )


_MOST_PLACES = 66
_Readings = dict[str, dict[str, float | None]]


class Scraper:
    """One page, asked for again and again by one thread.

    A URL without a path means /metrics. Only samples that carry all of `labels` are read. The constructor raises
    EndpointError for a URL or files of TLS that cannot be used.
    """

    def __init__(
        self,
        url: str,
        *,
        source: str,
        interval_s: float = 1.0,
        labels: Mapping[str, str] | None = None,
        headers: Headers = (),
        tls: Tls | None = None,
        within_s: float = LIMIT_S,
        now: Callable[[], int] = time.perf_counter_ns,
        wall_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self.interval_s = interval_s
        self._address = address_of(url)
        self._context = tls_context(tls or Tls()) if self._address.is_tls else None
        self._path = "/metrics" if self._address.path == "/" else self._address.path
        self._source = source
        self._labels = dict(labels or {})
        self._headers = headers
        self._within_s = within_s
        self._now = now
        self._wall_ns = wall_ns
        self._kept = Kept()
        self._known: _Readings = {}
        self._node_cpu_s: tuple[float, float] | None = None

    def read(self, at_ns: int) -> tuple[tuple[str, dict[str, float | None]], ...]:
        """By source: what the page tells by its own names and by ours, at `<source>`, `<source>/host`, `<source>/gpu0`.

        Counters are told as they are. What was told before and is not told now is None; of a page that cannot be had,
        or holds nothing that was asked for, there is `scrape_ok` 0. Never raises; takes up to `within_s` and a name's
        look-up.
        """
        began_ns = self._wall_ns()
        left = seconds_left(time.monotonic() + self._within_s)
        page = fetch_page(self._address, self._context, left, self._path, self._headers)
        took_ms = (self._now() - at_ns) / 1e6
        middle_s = (began_ns + self._wall_ns()) / 2 / 1e9
        found = None if page is None else self._found(page, took_ms, middle_s)
        return self._with_what_is_missing({"": {"scrape_ok": 0.0}} if found is None else found)

    def _found(self, page: ScrapedPage, took_ms: float, middle_s: float) -> _Readings | None:
        chosen = chosen_samples(page.text, self._labels)
        if not chosen:
            return None
        node, words = node_of(chosen), ScrapeReadings()
        for sample in chosen:
            words.take(sample)
        found: _Readings = {place: dict(readings) for place, readings in words.readings.items()}
        if node.memory_gib is not None:
            found.setdefault("host", {})["host_memory_gib"] = node.memory_gib
        cpu_before_s, self._node_cpu_s = self._node_cpu_s, node.cpu_s
        if cpu_before_s is not None and node.cpu_s is not None:
            found.setdefault("host", {})["host_cpu_percent"] = busy_percent(cpu_before_s, node.cpu_s)
        clock_s = _seconds_of(page.date) if node.clock_s is None else node.clock_s
        found[""] = {
            **{name: one.value for name, one in named_series(chosen) if self._kept.takes(name, one)},
            **found.get("", {}),
            "scrape_ok": 1.0,
            "scrape_ms": took_ms,
            "scrape_clock_offset_s": None if clock_s is None else clock_s - middle_s,
        }
        return found

    def _with_what_is_missing(self, found: _Readings) -> tuple[tuple[str, dict[str, float | None]], ...]:
        for place, readings in found.items():
            if place in self._known or len(self._known) < _MOST_PLACES:
                self._known.setdefault(place, {}).update(dict.fromkeys(readings))
        return tuple(
            (f"{self._source}/{place}" if place else self._source, unknown | found.get(place, {}))
            for place, unknown in self._known.items()
        )


def _seconds_of(date: str | None) -> float | None:
    """Of the header Date, the middle of the second that it tells: right to half a second."""
    if date is None:
        return None
    try:
        told = parsedate_to_datetime(date)
        return (told if told.tzinfo is not None else told.replace(tzinfo=UTC)).timestamp() + 0.5
    except (ValueError, TypeError, OverflowError):  # a stranger's text
        return None
