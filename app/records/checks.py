"""Validity checks of measurements and of plans."""

from __future__ import annotations

from typing import Literal

import msgspec

Validity = Literal["VALID", "WARN", "INVALID"]
CheckId = Literal[
    "accuracy_above_chance",
    "achieved_of_offered",
    "arrival_dispersion",
    "arrival_spacing",
    "arrivals_not_begun",
    "arrivals_never_started",
    "calls",
    "synchronized_clients",
    "clock",
    "clock_resolution",
    "coalesced_chunks",
    "connections",
    "cores",
    "cut_short",
    "drift",
    "errors",
    "file_descriptors",
    "free_memory",
    "generator_capacity",
    "generator_core_wait",
    "generator_cpu",
    "generator_reach",
    "gpu_lost",
    "gpu_memory_released",
    "gpu_throttled",
    "gpus",
    "step_duration",
    "late_calls_p99",
    "late_sends",
    "littles_law",
    "load_worker",
    "local_limits",
    "local_ports",
    "locust_transport",
    "mean_time_half_width",
    "measured_by",
    "standalone_model",
    "other_clients",
    "other_load",
    "other_processes_on_the_gpu",
    "output_lengths",
    "own_measurements",
    "power_governor",
    "prefix_cache",
    "price_age",
    "prompt_length",
    "prompts",
    "provider",
    "providers",
    "reference",
    "repetitions",
    "resumed_run",
    "run_directory",
    "same_outputs",
    "samples",
    "send_lag_p99",
    "excluded_stage",
    "stationarity",
    "steady_times",
    "stored_files",
    "target_process",
    "telemetry",
    "telemetry_gaps",
    "time_between_calls",
    "token_counts",
    "tokens_by_batch",
    "variant_ended",
    "variants",
    "warm_up",
    "worker_clocks",
    "workers",
    "onnxruntime_packages",
]
_DISPLAY_NAMES: dict[CheckId, str] = {
    "generator_core_wait": "load generator CPU wait",
    "generator_cpu": "load generator CPU",
    "generator_reach": "load generator limit",
    "gpu_lost": "GPU lost",
    "gpu_memory_released": "GPU memory released",
    "gpu_throttled": "GPU throttled",
    "gpus": "GPUs",
    "late_calls_p99": "p99 call delay",
    "littles_law": "concurrency by Little's law",
    "locust_transport": "Locust transport",
    "mean_time_half_width": "CI half-width of the mean time",
    "onnxruntime_packages": "ONNX Runtime packages",
    "other_processes_on_the_gpu": "other processes on the GPU",
    "same_outputs": "output similarity",
    "warm_up": "warm-up",
}
"""Display names by check ID, for checks whose ID does not read well after replacing underscores by
spaces."""


class Check(msgspec.Struct, frozen=True):
    """One validity check of a measurement or a plan: observed value, limit, verdict, and a hint on
    what to do."""

    id: CheckId
    value: float | str | None
    limit: float | str | None
    unit: str | None
    verdict: Validity
    hint: str | None = None

    @property
    def name(self) -> str:
        """Name of the check, as shown in reports, in the window and in the terminal."""
        return _DISPLAY_NAMES.get(self.id, self.id.replace("_", " "))
