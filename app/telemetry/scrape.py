"""Scrape telemetry of other machines from Prometheus metrics pages.

The pages are untrusted, so the number of series is limited. Metrics of known exporters are
converted to the names and units that Sizewise uses."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from itertools import islice
from typing import NamedTuple

from app.records.llm_servers import SeriesField, list_series
from app.records.telemetry_sources import name_gpu_source
from app.telemetry.cgroup import compute_utilization_percent
from app.telemetry.metrics_page import TIMEOUT_S, Headers, Sample, ScrapedPage, fetch_page, parse_samples
from loadgen.records import Tls
from loadgen.transport.address import parse_url
from loadgen.transport.opener import Opener, limit_time

MAX_SERIES = 200
MAX_UNKNOWN_SERIES = 100
"""Maximum number of stored series of unknown exporters. The remaining capacity is reserved for
series of known exporters."""
MAX_NAME_LENGTH = 200
_MAX_SAMPLES = 5_000
_MAX_LABELS = 32
_NODE_METRICS = frozenset((
    "node_memory_MemTotal_bytes", "node_memory_MemAvailable_bytes", "node_load1", "node_time_seconds",
    "node_network_receive_bytes_total", "node_network_transmit_bytes_total",
    "node_disk_read_bytes_total", "node_disk_written_bytes_total",
))  # fmt: skip
_CPU_METRIC = "node_cpu_seconds_total"
"""Name of node_exporter's CPU metric, which has eight series per core. Only the sums over all cores
are stored."""
_KNOWN_PREFIXES = (
    *list_series("prefixes"), "DCGM_", "node_", "queue_", "revision_", "kn_",
    "request_preprocess_", "request_predict_", "request_postprocess_", "request_explain_", "process_",
)  # fmt: skip
_RUNTIME_PREFIXES = ("go_", "python_", "promhttp_")
_HISTOGRAM_SUFFIXES = ("_bucket", "_created")


def select_samples(page: str, labels: Mapping[str, str]) -> list[Sample]:
    """Return the relevant samples of a metrics page that have all of `labels`, up to a maximum
    number of samples."""
    relevant_samples = (
        sample for sample in parse_samples(page) if _is_relevant(sample.name) and _has_labels(sample, labels)
    )
    return list(islice(relevant_samples, _MAX_SAMPLES))


def _is_relevant(name: str) -> bool:
    if name.startswith("node_"):
        return name in _NODE_METRICS or name == _CPU_METRIC
    return not name.startswith(_RUNTIME_PREFIXES) and not name.endswith(_HISTOGRAM_SUFFIXES)


def _has_labels(sample: Sample, required_labels: Mapping[str, str]) -> bool:
    # Fast check: most samples of a long page do not contain the value at all.
    if any(f'"{value}"' not in sample.labels_text for value in required_labels.values() if value.isalnum()):
        return False
    labels = sample.parse_labels() if required_labels else {}
    return all(labels.get(name) == value for name, value in required_labels.items())


def name_series(selected_samples: Iterable[Sample]) -> Iterator[tuple[str, Sample]]:
    """Yield each sample with a unique name. The name contains only those labels that distinguish
    the samples of the same metric.

    Samples whose name would be too long, and duplicate samples, are skipped."""
    samples_by_name: dict[str, list[Sample]] = {}
    for sample in selected_samples:
        if sample.name != _CPU_METRIC and len(sample.name) <= MAX_NAME_LENGTH:
            samples_by_name.setdefault(sample.name, []).append(sample)
    for name, samples in samples_by_name.items():
        if len(samples) == 1:
            yield name, samples[0]
            continue
        labels_per_sample = [sample.parse_labels() for sample in samples]
        label_names = _select_distinguishing_labels(labels_per_sample)
        sample_by_full_name: dict[str, Sample] = {}
        for sample, sample_labels in zip(samples, labels_per_sample, strict=True):
            labels_text = ",".join(
                f'{label}="{_escape(sample_labels[label])}"' for label in label_names if label in sample_labels
            )
            sample_by_full_name.setdefault(f"{name}{{{labels_text}}}" if labels_text else name, sample)
        yield from (
            (full_name, sample)
            for full_name, sample in sample_by_full_name.items()
            if len(full_name) <= MAX_NAME_LENGTH
        )


def _select_distinguishing_labels(labels_per_sample: list[dict[str, str]]) -> list[str]:
    """Return the names of labels that distinguish all samples. Labels that do not distinguish any
    further samples are omitted."""
    selected_labels: list[str] = []
    distinct_count = 1
    for label in list(dict.fromkeys(label for sample_labels in labels_per_sample for label in sample_labels))[
        :_MAX_LABELS
    ]:
        candidate_labels = [*selected_labels, label]
        new_count = len(
            {tuple(sample_labels.get(name) for name in candidate_labels) for sample_labels in labels_per_sample}
        )
        if new_count > distinct_count:
            selected_labels, distinct_count = candidate_labels, new_count
        if distinct_count == len(labels_per_sample):
            break
    return selected_labels


def _escape(value: str) -> str:
    escaped_value = value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
    return "".join(character if character.isprintable() else "?" for character in escaped_value)


class SeriesLimiter:
    """Limiter of the number of stored series. Only the first series are stored, so that a metrics
    page with changing names cannot fill the disk."""

    def __init__(self) -> None:
        self._accepted_names: set[str] = set()
        self._unknown_series_count = 0

    def accepts(self, full_name: str, sample: Sample) -> bool:
        if full_name in self._accepted_names:
            return True
        is_unknown_exporter = not sample.name.startswith(_KNOWN_PREFIXES)
        if len(self._accepted_names) >= MAX_SERIES or (
            is_unknown_exporter and self._unknown_series_count >= MAX_UNKNOWN_SERIES
        ):
            return False
        self._accepted_names.add(full_name)
        self._unknown_series_count += is_unknown_exporter
        return True


_GIB = 2**30
_INDEX_PATTERN = re.compile(r"[0-9]{1,4}", re.ASCII)


class _MetricMapping(NamedTuple):
    """Sizewise metric to which a series is converted, and the factor that converts its unit.
    Several series of the same source are summed if `is_summed` is true; otherwise, their maximum is
    used."""

    metric: str
    factor: float = 1.0
    is_summed: bool = False


_SERVER_FIELDS: dict[str, tuple[SeriesField, ...]] = {
    "server_running_requests": ("running",),
    "server_waiting_requests": ("waiting",),
    "server_kv_cache_percent": ("kv_cache_share",),
    "server_input_tokens_total": ("input_tokens",),
    "server_output_tokens_total": ("output_tokens",),
    "server_cached_tokens_total": ("cached_tokens",),
    "server_preemptions_total": ("preemptions",),
    "server_requests_total": ("requests", "other_requests"),
}
"""Fields of an inference server's series that become each metric."""
_LABELED_NAME = re.compile(r'(?P<name>[^{]+)\{(?P<label>\w+)="(?P<value>[^"]*)"\}')


def _list_server_mappings() -> Iterator[tuple[str, _MetricMapping]]:
    for metric, fields in _SERVER_FIELDS.items():
        is_share = metric == "server_kv_cache_percent"
        for name in (name for field in fields for name in list_series(field)):
            yield name, _MetricMapping(metric, 100 if is_share else 1, is_summed=not is_share)


_SERVER_METRICS = dict(_list_server_mappings())
_LABELED_SERVER_METRICS = {
    (match["name"], match["label"], match["value"]): mapping
    for name, mapping in _SERVER_METRICS.items()
    if (match := _LABELED_NAME.fullmatch(name)) is not None
}
"""Mappings of the series that are selected by a label, by name, label and value of the label."""
_LABELED_NAMES = frozenset(name for name, _, _ in _LABELED_SERVER_METRICS)
_HOST_METRICS = {
    "nv_cpu_utilization": _MetricMapping("host_cpu_percent", 100),
    "nv_cpu_memory_used_bytes": _MetricMapping("host_memory_gib", 1 / _GIB),
}
_DCGM_GPU_METRICS = {
    "DCGM_FI_DEV_GPU_UTIL": _MetricMapping("gpu_utilization_percent"),
    "DCGM_FI_DEV_MEM_COPY_UTIL": _MetricMapping("gpu_memory_busy_percent"),
    "DCGM_FI_DEV_FB_USED": _MetricMapping("gpu_memory_gib", 1 / 1024),
    "DCGM_FI_DEV_POWER_USAGE": _MetricMapping("gpu_power_w"),
    "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION": _MetricMapping("gpu_energy_j", 1e-3),
    "DCGM_FI_DEV_GPU_TEMP": _MetricMapping("gpu_temperature_c"),
    "DCGM_FI_DEV_MEMORY_TEMP": _MetricMapping("gpu_memory_temperature_c"),
    "DCGM_FI_DEV_SM_CLOCK": _MetricMapping("gpu_sm_clock_mhz"),
    "DCGM_FI_DEV_MEM_CLOCK": _MetricMapping("gpu_memory_clock_mhz"),
    "DCGM_FI_PROF_GR_ENGINE_ACTIVE": _MetricMapping("gpu_engine_active_percent", 100),
    "DCGM_FI_PROF_SM_ACTIVE": _MetricMapping("gpu_sm_active_percent", 100),
    "DCGM_FI_PROF_SM_OCCUPANCY": _MetricMapping("gpu_sm_occupancy_percent", 100),
    "DCGM_FI_PROF_PIPE_TENSOR_ACTIVE": _MetricMapping("gpu_tensor_active_percent", 100),
    "DCGM_FI_PROF_DRAM_ACTIVE": _MetricMapping("gpu_dram_active_percent", 100),
}
# For a MIG instance, DCGM reports the power and temperature of the whole GPU, so these metrics are
# omitted.
_DCGM_MIG_METRICS = {"DCGM_FI_DEV_FB_USED": _MetricMapping("gpu_mig_memory_gib", 1 / 1024)}
_TRITON_GPU_METRICS = {
    "nv_gpu_utilization": _MetricMapping("gpu_utilization_percent", 100),
    "nv_gpu_memory_used_bytes": _MetricMapping("gpu_memory_gib", 1 / _GIB),
    "nv_gpu_power_usage": _MetricMapping("gpu_power_w"),
    "nv_energy_consumption": _MetricMapping("gpu_energy_j"),
}


class ScrapeReadings:
    """Collector of the readings of one metrics page, by source and metric. The source "" is the
    server itself. Other sources are `host`, `gpu0` or `gpu0/mig3`, for example."""

    def __init__(self) -> None:
        self.readings_by_source: dict[str, dict[str, float]] = {}
        self._uuid_by_source: dict[str, str] = {}
        self._ambiguous_sources: set[str] = set()
        self._triton_source_by_uuid: dict[str, str] = {}

    def add(self, sample: Sample) -> None:
        if (mapping := _SERVER_METRICS.get(sample.name)) is not None:
            self._add("", mapping, sample.value)
        elif sample.name in _LABELED_NAMES:
            labels = sample.parse_labels()
            for (name, label, value), mapping in _LABELED_SERVER_METRICS.items():
                if sample.name == name and labels.get(label) == value:
                    self._add("", mapping, sample.value)
        elif (mapping := _HOST_METRICS.get(sample.name)) is not None:
            self._add("host", mapping, sample.value)
        elif sample.name in _DCGM_GPU_METRICS and not _is_dcgm_blank(sample.value):
            self._add_dcgm(sample)
        elif (mapping := _TRITON_GPU_METRICS.get(sample.name)) is not None:
            # Triton does not report an index, so the GPUs are numbered in the order of the page.
            uuid = sample.parse_labels().get("gpu_uuid", "")
            self._add(
                self._triton_source_by_uuid.setdefault(uuid, name_gpu_source(len(self._triton_source_by_uuid))),
                mapping,
                sample.value,
            )

    def _add_dcgm(self, sample: Sample) -> None:
        labels = sample.parse_labels()
        gpu_index, mig_index = labels.get("gpu", ""), labels.get("GPU_I_ID", "")
        if _INDEX_PATTERN.fullmatch(gpu_index) is None or (mig_index and _INDEX_PATTERN.fullmatch(mig_index) is None):
            return
        source = f"gpu{gpu_index}/mig{mig_index}" if mig_index else f"gpu{gpu_index}"
        mapping = (_DCGM_MIG_METRICS if mig_index else _DCGM_GPU_METRICS).get(sample.name)
        if mapping is not None and self._is_single_gpu(source, labels.get("UUID", "")):
            self._add(source, mapping, sample.value)

    def _is_single_gpu(self, source: str, uuid: str) -> bool:
        """Return True if the source has been a single GPU so far.

        A metrics page of several nodes has several GPUs with the same index. The readings of these
        GPUs are discarded, and the user must select a node by labels."""
        if source in self._ambiguous_sources or self._uuid_by_source.setdefault(source, uuid) != uuid:
            self._ambiguous_sources.add(source)
            self.readings_by_source.pop(source, None)
        return source not in self._ambiguous_sources

    def _add(self, source: str, mapping: _MetricMapping, value: float) -> None:
        value *= mapping.factor
        readings = self.readings_by_source.setdefault(source, {})
        previous_value = readings.get(mapping.metric)
        if previous_value is not None:
            value = previous_value + value if mapping.is_summed else max(previous_value, value)
        if math.isfinite(value):
            readings[mapping.metric] = value


def _is_dcgm_blank(value: float) -> bool:
    """Return True for the values with which DCGM reports that a value is missing, such as "not
    supported": 2**31 - 16 to 2**31 - 1, and all values from 2**47."""
    return 2**31 - 16 <= value < 2**31 or value >= 2**47


class NodeMetrics(NamedTuple):
    """Metrics of a machine, as reported by node_exporter. `cpu_s` contains the busy and the total
    core-seconds since the machine was started. `clock_s` is the Unix time of the machine in s. A
    metric is None if it is missing."""

    cpu_s: tuple[float, float] | None
    memory_gib: float | None
    clock_s: float | None


_SINGLE_NODE_METRICS = ("node_memory_MemTotal_bytes", "node_memory_MemAvailable_bytes", "node_time_seconds")


def read_node_metrics(samples: Iterable[Sample]) -> NodeMetrics:
    seconds_by_mode: dict[str, float] = {}
    single_values: dict[str, float] = {}
    for sample in samples:
        if sample.name == "node_cpu_seconds_total":
            mode = sample.parse_labels().get("mode", "")
            seconds_by_mode[mode] = seconds_by_mode.get(mode, 0.0) + sample.value
        elif sample.name in _SINGLE_NODE_METRICS:
            if sample.name in single_values:  # a page of several nodes; labels must select a node
                return NodeMetrics(None, None, None)
            single_values[sample.name] = sample.value
    total_s = sum(seconds_by_mode.values())
    total_bytes, available_bytes = (
        single_values.get("node_memory_MemTotal_bytes"),
        single_values.get("node_memory_MemAvailable_bytes"),
    )
    return NodeMetrics(
        cpu_s=(total_s - seconds_by_mode.get("idle", 0.0) - seconds_by_mode.get("iowait", 0.0), total_s)
        if seconds_by_mode
        else None,
        memory_gib=None if total_bytes is None or available_bytes is None else (total_bytes - available_bytes) / _GIB,
        clock_s=single_values.get("node_time_seconds"),
    )


_MAX_SOURCES = 66
_ReadingsBySource = dict[str, dict[str, float | None]]


class Scraper:
    """Scraper that reads one Prometheus metrics page repeatedly, on a single thread.

    If the URL has no path, /metrics is read. Only samples that have all of `labels` are used. The
    constructor raises EndpointError if the URL or a TLS file is invalid."""

    def __init__(
        self,
        url: str,
        *,
        source: str,
        interval_s: float = 1.0,
        labels: Mapping[str, str] | None = None,
        headers: Headers = (),
        tls: Tls | None = None,
        timeout_s: float = TIMEOUT_S,
        now: Callable[[], int] = time.perf_counter_ns,
        wall_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self.interval_s = interval_s
        self._address = parse_url(url)
        self._opener = Opener((url,), tls or Tls(), lambda _: None)
        self._path = "/metrics" if self._address.path == "/" else self._address.path
        self._source = source
        self._labels = dict(labels or {})
        self._headers = headers
        self._timeout_s = timeout_s
        self._now = now
        self._wall_ns = wall_ns
        self._limiter = SeriesLimiter()
        self._nulls_by_source: _ReadingsBySource = {}
        self._node_cpu_s: tuple[float, float] | None = None

    def read(self, at_ns: int) -> tuple[tuple[str, dict[str, float | None]], ...]:
        """Scrape the metrics page, and return its values by source, such as `<source>`,
        `<source>/host` and `<source>/gpu0`.

        The values include the series of the page under their original names, and the Sizewise
        metrics converted from these series. Counters are returned unchanged. Values that were
        present at an earlier reading and are now missing are None. If the page is unavailable or
        has no selected samples, `scrape_ok` is 0. The call never raises an error, and takes up to
        `timeout_s` plus the time of the DNS lookup."""
        start_ns = self._wall_ns()
        page = fetch_page(self._opener, self._address, limit_time(self._timeout_s), self._path, self._headers)
        duration_ms = (self._now() - at_ns) / 1e6
        midpoint_s = (start_ns + self._wall_ns()) / 2 / 1e9
        readings = None if page is None else self._parse_page(page, duration_ms, midpoint_s)
        return self._fill_missing({"": {"scrape_ok": 0.0}} if readings is None else readings)

    def _parse_page(self, page: ScrapedPage, duration_ms: float, midpoint_s: float) -> _ReadingsBySource | None:
        samples = select_samples(page.text, self._labels)
        if not samples:
            return None
        node_metrics, scrape_readings = read_node_metrics(samples), ScrapeReadings()
        for sample in samples:
            scrape_readings.add(sample)
        readings_by_source: _ReadingsBySource = {
            source: dict(readings) for source, readings in scrape_readings.readings_by_source.items()
        }
        if node_metrics.memory_gib is not None:
            readings_by_source.setdefault("host", {})["host_memory_gib"] = node_metrics.memory_gib
        cpu_before_s, self._node_cpu_s = self._node_cpu_s, node_metrics.cpu_s
        if cpu_before_s is not None and node_metrics.cpu_s is not None:
            readings_by_source.setdefault("host", {})["host_cpu_percent"] = compute_utilization_percent(
                cpu_before_s, node_metrics.cpu_s
            )
        clock_s = _parse_date(page.date) if node_metrics.clock_s is None else node_metrics.clock_s
        readings_by_source[""] = {
            **{name: sample.value for name, sample in name_series(samples) if self._limiter.accepts(name, sample)},
            **readings_by_source.get("", {}),
            "scrape_ok": 1.0,
            "scrape_ms": duration_ms,
            "scrape_clock_offset_s": None if clock_s is None else clock_s - midpoint_s,
        }
        return readings_by_source

    def _fill_missing(self, readings_by_source: _ReadingsBySource) -> tuple[tuple[str, dict[str, float | None]], ...]:
        for source, readings in readings_by_source.items():
            if source in self._nulls_by_source or len(self._nulls_by_source) < _MAX_SOURCES:
                self._nulls_by_source.setdefault(source, {}).update(dict.fromkeys(readings))
        return tuple(
            (f"{self._source}/{source}" if source else self._source, nulls | readings_by_source.get(source, {}))
            for source, nulls in self._nulls_by_source.items()
        )


def _parse_date(date: str | None) -> float | None:
    """Convert the value of a Date header to Unix time in s; None if the header is missing or
    invalid. The result is the middle of the stated second, with an error of at most half a
    second."""
    if date is None:
        return None
    try:
        timestamp = parsedate_to_datetime(date)
        return (timestamp if timestamp.tzinfo is not None else timestamp.replace(tzinfo=UTC)).timestamp() + 0.5
    except (ValueError, TypeError, OverflowError):  # untrusted text
        return None
