"""What known exporters call things, in this program's words and units."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import NamedTuple

from app.telemetry.prometheus_text import Sample

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
