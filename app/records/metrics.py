"""Metric catalog: the only list of metrics, used by the result schema, objectives, reports and the
window.

Latency, service time, send lag and the rates are defined in docs/reference/metrics.md.
"""

from __future__ import annotations

import re
from typing import Literal

import msgspec

Better = Literal["lower", "higher", "neither"]
PERCENTILES: dict[str, float] = {"p50": 0.50, "p90": 0.90, "p95": 0.95, "p99": 0.99, "p99_9": 0.999}
DISTRIBUTION_AGGREGATES = (*PERCENTILES, "mean", "max")
SAMPLED_AGGREGATES = ("mean", "max")
CALL_PART_AGGREGATES = ("p50", "p95", "p99", "mean", "max")


Trait = Literal[
    "stream", "tokens", "speech", "audio", "images", "dialog", "scheduled", "rate", "goodput", "external", "local",
    "generation", "device", "messages",
]  # fmt: skip
"""Trait of a metric, which decides where the metric can be an objective:

- stream: applies only to streamed responses
- tokens: applies only to APIs that generate tokens
- speech: applies only to APIs that generate audio
- audio: applies only to APIs with audio in the request or the response
- images: applies only to APIs that generate images
- dialog: applies only to APIs whose input takes time to send
- scheduled: measured from the scheduled start of a request
- rate: low whenever the offered rate is low
- goodput: counts only responses that meet the SLO limits on individual responses
- external: not computed from request rows (for example, sampled from the machine), and not yet
  available when a stage ends
- local: applies to local models
- generation: applies to local language models
- device: applies to the machine and its devices, and thus to every run
- messages: applies only to streams of messages, which are not tokens
"""


class Metric(msgspec.Struct, frozen=True):
    """A metric of the catalog. `aggregates` is empty for a metric with a single value per stage,
    such as a rate or a share."""

    name: str
    unit: str
    better: Better
    aggregates: tuple[str, ...]
    description: str
    traits: tuple[Trait, ...] = ()


_CATALOG = (
    Metric("latency_ms", "ms", "lower", DISTRIBUTION_AGGREGATES,
           "time from the scheduled start of a request to the end of its response", ("scheduled", "local")),
    Metric("service_ms", "ms", "lower", DISTRIBUTION_AGGREGATES,
           "time from the send of a request to the end of its response; what most tools report", ("local",)),
    Metric("first_byte_ms", "ms", "lower", DISTRIBUTION_AGGREGATES,
           "time from the scheduled start of a request to the first byte of its response", ("scheduled",)),
    Metric("ttft_ms", "ms", "lower", DISTRIBUTION_AGGREGATES,
           "time from the scheduled start of a request to its first token (empty deltas do not count)",
           ("stream", "generation")),
    Metric("ttft_service_ms", "ms", "lower", DISTRIBUTION_AGGREGATES,
           "time from the send of a request to its first token; what most tools report", ("stream",)),
    Metric("ttfo_ms", "ms", "lower", DISTRIBUTION_AGGREGATES,
           "time from the scheduled start of a request to its first token that is not reasoning", ("stream",)),
    Metric("icl_ms", "ms", "lower", DISTRIBUTION_AGGREGATES,
           "gap between chunks of a stream as received, pooled over all responses", ("stream",)),
    Metric("itl_ms", "ms", "lower", DISTRIBUTION_AGGREGATES,
           (
               "gap between tokens, pooled over all responses: a chunk of k tokens counts as k gaps of 1/k each; "
               "n/a if k is unknown"
           ),
           ("stream", "generation")),
    Metric("tpot_ms", "ms", "lower", DISTRIBUTION_AGGREGATES,
           "(last token − first token)/(tokens − 1), once per response", ("stream",)),
    Metric("output_tokens", "tokens", "neither", DISTRIBUTION_AGGREGATES, "tokens per response", ("tokens",)),
    Metric("input_tokens", "tokens", "neither", DISTRIBUTION_AGGREGATES,
           "tokens per request, as counted by the server"),
    Metric("reasoning_tokens", "tokens", "neither", DISTRIBUTION_AGGREGATES,
           "reasoning tokens per response, as counted by the server", ("tokens",)),
    Metric("cached_input_share", "share", "neither", (),
           "share of the input tokens that a prefix cache served, as counted by the server", ("tokens",)),
    Metric("latency_per_token_ms", "ms", "lower", DISTRIBUTION_AGGREGATES,
           "normalized latency: latency divided by the output tokens, once per response", ("tokens",)),
    Metric("user_tokens_per_s", "tokens/s", "higher", DISTRIBUTION_AGGREGATES,
           "output throughput that one user sees: 1 / TPOT, once per response", ("stream",)),
    Metric("good_tokens_per_s", "tokens/s", "higher", (),
           "output tokens of the responses within all limits of the SLO per second", ("tokens", "rate", "goodput")),
    Metric("output_tokens_per_s", "tokens/s", "higher", (),
           "tokens of successful responses per second", ("tokens", "rate")),
    Metric("coalesced_share", "share", "lower", (),
           "share of chunks that were read together with the previous one", ("stream",)),
    Metric("ttfa_ms", "ms", "lower", DISTRIBUTION_AGGREGATES,
           (
               "time from the scheduled start of a request to the first audio of its response; in a dialog, from the "
               "end of the input audio"
           ),
           ("speech",)),
    Metric("response_ms", "ms", "lower", DISTRIBUTION_AGGREGATES,
           "time from the end of the input audio of a dialog to the end of its response", ("dialog",)),
    Metric("real_time_factor", "", "lower", DISTRIBUTION_AGGREGATES,
           (
               "service time, or in a dialog the response time, divided by the duration of the audio, once per "
               "response; below 1 is faster than real time"
           ),
           ("audio",)),
    Metric("audio_s", "s", "neither", DISTRIBUTION_AGGREGATES,
           "duration of the audio that a request transcribes or a response contains", ("audio",)),
    Metric("audio_s_per_s", "s/s", "higher", (),
           "seconds of audio of successful requests per second", ("audio", "rate")),
    Metric("images_per_s", "images/s", "higher", (),
           "images of successful responses per second", ("images", "rate")),
    Metric("send_lag_ms", "ms", "lower", DISTRIBUTION_AGGREGATES,
           "time from the scheduled start of a request to its send: the delay of the load generator",
           ("scheduled", "local")),
    Metric("error_rate", "share", "lower", (), "share of sent requests that failed"),
    Metric("goodput_share", "share", "higher", (),
           "share of scheduled requests with a response within all limits of the SLO", ("goodput",)),
    Metric("offered_per_s", "1/s", "neither", (), "scheduled requests per second", ("rate",)),
    Metric("achieved_per_s", "1/s", "higher", (), "requests sent per second", ("rate",)),
    Metric("completed_per_s", "1/s", "higher", (), "successful responses per second", ("rate",)),
    Metric("good_per_s", "1/s", "higher", (), "responses within all limits of the SLO per second", ("rate", "goodput")),
    Metric("prefill_tokens_per_s", "tokens/s", "higher", (),
           "prompt tokens that a local language model processes per second, over the batch", ("generation",)),
    Metric("decode_tokens_per_s", "tokens/s", "higher", (),
           "tokens that a local language model generates per second after the first, over the batch",
           ("generation",)),
    Metric("prefill_flops_share", "share", "higher", (),
           "FLOPs of the prefill of a local language model per second, as a share of the processor's peak",
           ("generation",)),
    Metric("decode_bandwidth_share", "share", "higher", (),
           "memory traffic of the decode of a local language model, at least, as a share of the peak bandwidth",
           ("generation",)),
    Metric("perplexity", "", "lower", (),
           "perplexity of a local language model on the text of the profile", ("generation",)),
    Metric("perplexity_ratio", "", "lower", (),
           "perplexity of a local language model divided by that of the first variant", ("generation",)),
    Metric("token_agreement", "share", "higher", (),
           "share of tokens that a local language model and the first variant predict alike", ("generation",)),
    Metric("kl_mean", "nats", "lower", (),
           "mean KL divergence of the predictions of a local language model from the first variant's",
           ("generation",)),
    Metric("tokens_per_s", "tokens/s", "higher", (),
           "prompt and output tokens of a test of a local language model per second, over the batch",
           ("generation",)),
    Metric("throughput_per_s", "1/s", "higher", (), "inferences per second of a local run", ("external", "local")),
    Metric("process_start_ms", "ms", "lower", (),
           "time from the start of a process to its first line; part of a cold start", ("local",)),
    Metric("library_load_ms", "ms", "lower", (),
           "time to load the inference library, once per process; part of a cold start", ("external", "local")),
    Metric("session_build_ms", "ms", "lower", (),
           "time to build the session from the model file; part of a cold start", ("external", "local")),
    Metric("first_inference_ms", "ms", "lower", (),
           "duration of the first inference of a process; part of a cold start", ("external", "local")),
    Metric("scaling_efficiency", "share", "higher", (),
           "throughput of n devices as a share of n times the throughput of one"),
    Metric("prepare_ms", "ms", "lower", CALL_PART_AGGREGATES,
           "time that a local call takes to assemble its rows", ("local",)),
    Metric("copy_in_ms", "ms", "lower", CALL_PART_AGGREGATES,
           "time that a local call takes to copy inputs to the device", ("local",)),
    Metric("execute_ms", "ms", "lower", CALL_PART_AGGREGATES,
           "time that a local call takes to execute the model", ("local",)),
    Metric("copy_out_ms", "ms", "lower", CALL_PART_AGGREGATES,
           "time that a local call takes to copy outputs from the device", ("local",)),
    Metric("post_process_ms", "ms", "lower", CALL_PART_AGGREGATES,
           "time that a local call takes to convert scores to predictions", ("local",)),
    Metric("accuracy_retained", "share", "higher", (),
           "accuracy of this variant as a share of the fp32 reference's accuracy", ("local",)),
    Metric("accuracy", "share", "higher", (), "share of labeled rows that were predicted correctly", ("local",)),
    Metric("host_cpu_percent", "%", "neither", ("mean", "max"),
           "CPU utilization of the machine; all cores together are 100 %", ("external", "device")),
    Metric("host_memory_gib", "GiB", "neither", ("mean", "max"),
           "memory in use on the machine", ("external", "device")),
    Metric("endpoint_cpu_cores", "cores", "lower", ("mean", "max"),
           "CPU cores used by the endpoint's processes", ("external",)),
    Metric("generator_cpu_cores", "cores", "lower", ("mean", "max"),
           "CPU cores used by the load worker", ("external",)),
    Metric("model_cpu_cores", "cores", "lower", SAMPLED_AGGREGATES,
           "CPU cores used by the process of a local model", ("device",)),
    Metric("model_memory_gib", "GiB", "lower", SAMPLED_AGGREGATES,
           "resident memory of the process of a local model", ("device",)),
    Metric("endpoint_memory_gib", "GiB", "lower", SAMPLED_AGGREGATES,
           "resident memory of the endpoint's processes", ("external",)),
    Metric("generator_memory_gib", "GiB", "lower", SAMPLED_AGGREGATES,
           "resident memory of the load worker", ("external",)),
    Metric("engine_memory_gib", "GiB", "lower", SAMPLED_AGGREGATES,
           "resident memory of the Sizewise engine process", ("external",)),
    Metric("core_cpu_percent", "%", "neither", SAMPLED_AGGREGATES, "CPU utilization of one core"),
    Metric("host_network_sent_bytes_per_s", "B/s", "neither", SAMPLED_AGGREGATES,
           "bytes sent by the machine, without loopback", ("external", "device")),
    Metric("host_network_received_bytes_per_s", "B/s", "neither", SAMPLED_AGGREGATES,
           "bytes received by the machine, without loopback", ("external", "device")),
    Metric("host_disk_read_bytes_per_s", "B/s", "neither", SAMPLED_AGGREGATES,
           "bytes read from the machine's disks", ("external", "device")),
    Metric("host_disk_written_bytes_per_s", "B/s", "neither", SAMPLED_AGGREGATES,
           "bytes written to the machine's disks", ("external", "device")),
    Metric("energy_j", "J", "lower", (), "energy used by the GPUs in a stage", ("device",)),
    Metric("idle_power_w", "W", "lower", (), "idle power of the GPUs before the run"),
    Metric("energy_j_per_inference", "J", "lower", (), "total energy of the GPUs per inference", ("device",)),
    Metric("energy_above_idle_j_per_inference", "J", "lower", (),
           "energy of the GPUs above idle per inference", ("device",)),
    Metric("energy_j_per_output_token", "J", "lower", (),
           "total energy of the GPUs per output token", ("device",)),
    Metric("energy_above_idle_j_per_output_token", "J", "lower", (),
           "energy of the GPUs above idle per output token", ("device",)),
    Metric("gpu_busy_share", "share", "neither", (),
           "share of time with at least one kernel resident", ("external", "device")),
    Metric("gpu_idle_share", "share", "neither", (), "share of time without a resident kernel", ("external", "device")),
    Metric("gpu_throttled_share", "share", "lower", (),
           "share of time in which the GPU's clocks were throttled", ("external", "device")),
    Metric("gpu_engine_active_percent", "%", "neither", SAMPLED_AGGREGATES,
           "share of time with an active engine (DCGM)", ("external", "device")),
    Metric("gpu_sm_active_percent", "%", "neither", SAMPLED_AGGREGATES,
           "share of time with a warp on the multiprocessors (DCGM)", ("external", "device")),
    Metric("gpu_sm_occupancy_percent", "%", "neither", SAMPLED_AGGREGATES,
           "resident warps as a share of the maximum (DCGM)", ("external", "device")),
    Metric("gpu_tensor_active_percent", "%", "neither", SAMPLED_AGGREGATES,
           "share of time with active tensor cores (DCGM)", ("external", "device")),
    Metric("gpu_dram_active_percent", "%", "neither", SAMPLED_AGGREGATES,
           "share of time with active GPU memory (DCGM)", ("external", "device")),
    Metric("server_running_requests", "requests", "neither", SAMPLED_AGGREGATES,
           "running requests, as reported by the server"),
    Metric("server_waiting_requests", "requests", "lower", SAMPLED_AGGREGATES,
           "queued requests, as reported by the server"),
    Metric("server_kv_cache_percent", "%", "neither", SAMPLED_AGGREGATES,
           "KV cache utilization of the server's fullest engine"),
    Metric("server_input_tokens_total", "tokens", "neither", (), "input tokens, as counted by the server"),
    Metric("server_output_tokens_total", "tokens", "neither", (), "output tokens, as counted by the server"),
    Metric("server_cached_tokens_total", "tokens", "neither", (),
           "input tokens that the server's prefix cache served, as counted by the server"),
    Metric("server_cache_hit_percent", "%", "neither", (),
           "share of the input tokens of an interval that the server's prefix cache served"),
    Metric("server_requests_total", "requests", "neither", (), "requests, as counted by the server"),
    Metric("server_preemptions_total", "requests", "lower", (), "preempted requests, as counted by the server"),
    Metric("scrape_ok", "share", "higher", SAMPLED_AGGREGATES, "share of successful scrapes"),
    Metric("scrape_ms", "ms", "lower", SAMPLED_AGGREGATES, "duration of a scrape"),
    Metric("scrape_clock_offset_s", "s", "neither", SAMPLED_AGGREGATES,
           "clock of the scraped server minus this machine's clock"),
    Metric("engine_cpu_cores", "cores", "lower", ("mean", "max"),
           "CPU cores used by the Sizewise engine process", ("external",)),
    Metric("gpu_utilization_percent", "%", "neither", ("mean", "max"),
           "share of time with a kernel resident on the GPU; not occupancy and not FLOP utilization",
           ("external", "device")),
    Metric("gpu_memory_busy_percent", "%", "neither", ("mean", "max"),
           "share of time in which the GPU's memory was read or written; not its bandwidth",
           ("external", "device")),
    Metric("gpu_memory_gib", "GiB", "neither", ("mean", "max"), "GPU memory in use (NVML)", ("external", "device")),
    Metric("gpu_power_w", "W", "lower", ("mean", "max"), "power drawn by the GPU (NVML)", ("external", "device")),
    Metric("gpu_power_average_w", "W", "lower", ("mean", "max"),
           "power drawn by the GPU, averaged over the last second", ("external", "device")),
    Metric("gpu_energy_j", "J", "lower", (),
           "energy counter of the GPU; only differences are meaningful", ("external", "device")),
    Metric("gpu_temperature_c", "°C", "lower", ("mean", "max"),
           "GPU core temperature (NVML)", ("external", "device")),
    Metric("gpu_memory_temperature_c", "°C", "lower", ("mean", "max"),
           "GPU memory temperature (NVML)", ("external", "device")),
    Metric("gpu_sm_clock_mhz", "MHz", "neither", ("mean", "max"),
           "clock frequency of the GPU's multiprocessors (NVML)", ("external", "device")),
    Metric("gpu_memory_clock_mhz", "MHz", "neither", ("mean", "max"),
           "clock frequency of the GPU's memory (NVML)", ("external", "device")),
    Metric("gpu_pcie_tx_mb_per_s", "MB/s", "neither", ("mean", "max"),
           "PCIe transmit throughput of the GPU (NVML)", ("external", "device")),
    Metric("gpu_pcie_rx_mb_per_s", "MB/s", "neither", ("mean", "max"),
           "PCIe receive throughput of the GPU (NVML)", ("external", "device")),
    Metric("gpu_throttle_reasons", "bits", "lower", (),
           "reasons for GPU clock throttling as a bit mask (NVML)", ("external", "device")),
    Metric("gpu_ecc_corrected_errors", "errors", "lower", (),
           "memory errors corrected by ECC since the driver was loaded", ("external", "device")),
    Metric("gpu_ecc_uncorrected_errors", "errors", "lower", (),
           "uncorrectable memory errors since the driver was loaded", ("external", "device")),
    Metric("gpu_fan_percent", "%", "neither", ("mean", "max"),
           "speed of the GPU's fan as a share of its maximum", ("external", "device")),
    Metric("gpu_encoder_percent", "%", "neither", ("mean", "max"),
           "share of time in which the GPU's video encoder was busy", ("external", "device")),
    Metric("gpu_decoder_percent", "%", "neither", ("mean", "max"),
           "share of time in which the GPU's video decoder was busy", ("external", "device")),
    Metric("gpu_processes", "processes", "neither", ("mean", "max"),
           "processes that compute on the GPU", ("external", "device")),
    Metric("gpu_process_memory_gib", "GiB", "neither", ("mean", "max"),
           "GPU memory of one process (NVML)", ("external", "device")),
    Metric("gpu_mig_memory_gib", "GiB", "neither", ("mean", "max"),
           "memory in use in one MIG instance of a GPU", ("external", "device")),
    Metric("first_message_ms", "ms", "lower", DISTRIBUTION_AGGREGATES,
           "time from the scheduled start of a request to the first message of its stream", ("messages",)),
    Metric("message_gap_ms", "ms", "lower", DISTRIBUTION_AGGREGATES,
           "gap between messages of a stream as received, pooled over all responses", ("messages",)),
    Metric("response_messages", "messages", "neither", DISTRIBUTION_AGGREGATES, "messages per response", ("messages",)),
    Metric("messages_per_s", "messages/s", "higher", (),
           "messages of successful responses per second", ("messages", "rate")),
)  # fmt: skip

LABELS = {
    "latency_ms": "latency", "service_ms": "service time", "first_byte_ms": "time to first byte",
    "ttft_ms": "TTFT", "ttft_service_ms": "TTFT from send", "ttfo_ms": "TTFO", "icl_ms": "inter-chunk latency",
    "latency_per_token_ms": "normalized latency", "user_tokens_per_s": "output throughput per user",
    "good_tokens_per_s": "token goodput", "cached_input_share": "cached input",
    "ttfa_ms": "TTFA", "response_ms": "response time", "audio_s": "audio duration", "audio_s_per_s": "audio throughput",
    "images_per_s": "image throughput",
    "itl_ms": "ITL", "tpot_ms": "TPOT", "output_tokens_per_s": "output throughput",
    "coalesced_share": "coalesced chunks", "send_lag_ms": "send lag", "goodput_share": "goodput share",
    "offered_per_s": "offered rate", "achieved_per_s": "send rate", "completed_per_s": "throughput",
    "prefill_tokens_per_s": "prefill throughput", "decode_tokens_per_s": "decode throughput",
    "tokens_per_s": "throughput of the test", "kl_mean": "KL divergence",
    "prefill_flops_share": "prefill share of peak FLOP/s",
    "decode_bandwidth_share": "decode share of peak bandwidth",
    "good_per_s": "goodput", "throughput_per_s": "throughput", "session_build_ms": "session creation",
    "prepare_ms": "batch preparation", "copy_in_ms": "copy to device", "execute_ms": "model execution",
    "copy_out_ms": "copy from device", "post_process_ms": "post-processing", "accuracy_retained": "accuracy retained",
    "host_cpu_percent": "host CPU utilization", "energy_j": "energy", "idle_power_w": "idle power",
    "energy_j_per_inference": "energy per inference",
    "energy_above_idle_j_per_inference": "energy above idle per inference",
    "energy_j_per_output_token": "energy per output token",
    "energy_above_idle_j_per_output_token": "energy above idle per output token",
    "server_kv_cache_percent": "server KV cache utilization", "server_cache_hit_percent": "server prefix cache hits",
    "scrape_ok": "successful scrapes",
    "scrape_ms": "scrape duration",
    "gpu_utilization_percent": "GPU utilization", "gpu_memory_busy_percent": "GPU memory busy time",
    "gpu_sm_clock_mhz": "GPU SM clock", "gpu_pcie_tx_mb_per_s": "GPU PCIe TX",
    "gpu_pcie_rx_mb_per_s": "GPU PCIe RX", "gpu_mig_memory_gib": "GPU MIG memory",
    "gpu_throttled_share": "GPU throttled time", "gpu_busy_share": "GPU busy time", "gpu_idle_share": "GPU idle time",
    "max_rate_within_slo": "max rate within SLO", "usd_per_month": "monthly cost",
    "usd_per_1k_inferences": "cost per 1k inferences", "usd_per_1m_tokens": "cost per 1M tokens",
    "first_message_ms": "time to first message", "message_gap_ms": "gap between messages",
    "response_messages": "messages per response", "messages_per_s": "message throughput",
}  # fmt: skip
"""Display names by metric, for metrics whose identifier does not read well without its unit."""
_UNIT_SUFFIX = re.compile("_(ms|s|gib|percent|share|cores|w|j|c|mhz|mb_per_s|bytes_per_s)$")
_ACRONYMS = {"cpu": "CPU", "gpu": "GPU", "ecc": "ECC"}
_DISPLAY_UNITS = {"1/s": "req/s", "tokens/s": "tok/s"}

METRICS: dict[str, Metric] = {metric.name: metric for metric in _CATALOG}

_RUN_METRICS = (
    Metric("max_rate_within_slo", "1/s", "higher", (), "highest offered rate that met the SLO"),
    Metric("usd_per_month", "USD", "lower", (), "monthly cost of the recommended fleet"),
    Metric("usd_per_1k_inferences", "USD", "lower", (), "cost of the recommended fleet per 1k inferences"),
    Metric("usd_per_1m_tokens", "USD", "lower", (), "cost of the recommended fleet per 1M input and output tokens"),
)  # fmt: skip

RUN_METRICS: dict[str, Metric] = {metric.name: metric for metric in _RUN_METRICS}
"""Metrics of a run as a whole, which can be used only in gates."""


def format_metric(name: str, aggregate: str | None = None) -> str:
    """Format a metric in profile syntax, such as `latency_ms.p99.9`, from its full name
    `latency_ms.p99_9` or from the metric and the aggregate."""
    metric, separator, aggregate_name = name.partition(".") if aggregate is None else (name, ".", aggregate)
    return f"{metric}{separator}{aggregate_name.replace('_', '.')}"


def metric_label(name: str, aggregate: str | None = None) -> str:
    """Return the display name of a metric, such as `p99.9 latency`, from its full name
    `latency_ms.p99_9` or from the metric and the aggregate."""
    metric, _, aggregate_name = name.partition(".") if aggregate is None else (name, ".", aggregate)
    metric_text = LABELS.get(metric) or " ".join(
        _ACRONYMS.get(word, word) for word in _UNIT_SUFFIX.sub("", metric).split("_")
    )
    return f"{aggregate_name.replace('_', '.')} {metric_text}" if aggregate_name else metric_text


def display_unit(unit: str) -> str:
    """Return the display form of a catalog unit: `req/s` for `1/s`, `tok/s` for `tokens/s`, `%` for
    `share`."""
    return "%" if unit == "share" else unscaled_unit(unit)


def unscaled_unit(unit: str) -> str:
    """Return the display form of a catalog unit beside values that are not converted, so that a
    share stays a share."""
    return _DISPLAY_UNITS.get(unit, unit)


def find_metrics(trait: Trait) -> tuple[str, ...]:
    """Return the names of the metrics with a trait, in catalog order."""
    return tuple(name for name, metric in METRICS.items() if trait in metric.traits)
