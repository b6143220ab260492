"""Analytical capacity of a replica that serves a language model with continuous batching."""

from __future__ import annotations

import math

import msgspec

from app.planning.extrapolation import Ratio, estimate_ratio
from app.planning.memory import (
    BYTES_PER_PARAMETER,
    compute_kv_bytes,
    compute_usable_bytes,
    count_sequences,
    plan_memory,
)
from app.planning.rates import Unavailable, format_accelerator_name, get_peak_ops_per_s
from app.planning.risk import Risk
from app.records.estimate import Basis
from app.records.offers import Accelerator
from app.records.planning_inputs import Engine, LanguageModel, Precision
from app.records.service import UNLIMITED_TOKENS, TokenService

# bandwidth of PCIe 4.0 x16 in one direction, as achieved by collectives
_PCIE_BYTES_PER_S = 25e9
ASSUMED_SIGMA = 0.35
"""Assumed lognormal sigma of a calculated rate, based on published rates
(`docs/validation/extrapolation.md`).
"""


class Efficiency(msgspec.Struct, frozen=True):
    """Efficiency of kernels: achieved shares of peak compute and peak bandwidth, and delays that do
    not depend on the accelerator.
    """

    compute: float = 0.50
    bandwidth: float = 0.75
    host_s: float = 0.0005
    link_latency_s: float = 10e-6


class Deployment(msgspec.Struct, frozen=True):
    """Replica on `degree` accelerators with tensor parallelism, and the mean numbers of input and
    output tokens.

    `prefix_hit_rate` is the prefix cache hit rate: the share of prompt tokens whose keys and values
    are cached.
    """

    model: LanguageModel
    accelerator: Accelerator
    input_tokens: float
    output_tokens: float
    precision: Precision = Precision()
    degree: int = 1
    prefix_hit_rate: float = 0.0
    engine: Engine = Engine()
    efficiency: Efficiency = Efficiency()


class Speeds(msgspec.Struct, frozen=True):
    """Effective compute in operations/s and effective bandwidth in bytes/s of each accelerator,
    after losses."""

    compute_per_s: float
    memory_bytes_per_s: float
    link_bytes_per_s: float


class Replica(msgspec.Struct, frozen=True):
    """Performance of a replica under full load."""

    rate_per_s: float
    batch: int
    prefill_s: float
    step_s: float


def compute_speeds(deployment: Deployment) -> Speeds | Unavailable:
    accelerator, efficiency = deployment.accelerator, deployment.efficiency
    peak_per_s = get_peak_ops_per_s(accelerator, deployment.precision.compute)
    if isinstance(peak_per_s, Unavailable):
        return peak_per_s
    if not accelerator.memory_bandwidth_gb_s:
        return Unavailable(
            "unknown_figure", f"the memory bandwidth of {format_accelerator_name(accelerator)} is unknown"
        )
    link_bytes_per_s = accelerator.interconnect_gb_s * 1e9 / 2 if accelerator.interconnect_gb_s else _PCIE_BYTES_PER_S
    return Speeds(
        peak_per_s * efficiency.compute,
        accelerator.memory_bandwidth_gb_s * 1e9 * efficiency.bandwidth,
        link_bytes_per_s,
    )


def compute_prefill_s(deployment: Deployment, speeds: Speeds) -> float:
    """Return the time in seconds that the prefill of a prompt adds to the steps that process it.

    The time includes the arithmetic of uncached tokens, attention, and collectives.
    """
    model = deployment.model
    tokens = deployment.input_tokens * (1 - deployment.prefix_hit_rate)
    operations = 2 * model.parameters_per_token * tokens
    operations += 4 * model.layers * model.heads * model.head_dim * tokens**2 / 2
    compute_s = operations / (speeds.compute_per_s * deployment.degree)
    return compute_s + _compute_collectives_s(deployment, speeds, tokens)


def compute_decode_step_s(deployment: Deployment, speeds: Speeds, batch: float) -> float:
    """Return the duration in seconds of a decode step, which emits one token for each of `batch`
    sequences.

    Each sequence is assumed to be halfway through its response.
    """
    compute_s = _estimate_decode_compute_s(deployment, speeds, batch)
    memory_s = _compute_weights_read_s(deployment, speeds, batch) + batch * _compute_kv_read_s(deployment, speeds)
    return max(compute_s, memory_s) + _compute_collectives_s(deployment, speeds, batch) + deployment.efficiency.host_s


def size_replica(deployment: Deployment, itl_limit_s: float | None = None) -> Replica | Unavailable:
    """Return the replica with the largest batch that memory, engine and the limit on mean ITL
    allow.

    Return `Unavailable` if not even one sequence fits in memory, or if the ITL of a single
    sequence exceeds the limit.
    """
    speeds = compute_speeds(deployment)
    if isinstance(speeds, Unavailable):
        return speeds
    memory_plan = plan_memory(
        deployment.model, deployment.accelerator, deployment.precision, deployment.degree, deployment.engine
    )
    if isinstance(memory_plan, Unavailable):
        return memory_plan
    max_sequences = count_sequences(
        memory_plan,
        deployment.model,
        _compute_mean_tokens(deployment),
        deployment.precision.kv,
        deployment.engine.block_tokens,
    )
    if max_sequences < 1:
        return Unavailable(
            "memory",
            f"no sequence of {_compute_mean_tokens(deployment):.0f} tokens fits in the memory that the weights leave",
        )
    max_batch = min(max_sequences, deployment.engine.max_sequences)
    batch = max_batch if itl_limit_s is None else _find_largest_batch(deployment, speeds, max_batch, itl_limit_s)
    if batch == 0:
        return Unavailable(
            "token_time",
            f"a single sequence takes {_compute_itl_s(deployment, speeds, 1) * 1000:.1f} ms per token, but the SLO "
            f"allows {(itl_limit_s or 0) * 1000:.1f} ms: use faster or more accelerators, or fewer bytes per weight",
        )
    prefill_s, step_s = compute_prefill_s(deployment, speeds), compute_decode_step_s(deployment, speeds, batch)
    return Replica(
        rate_per_s=1 / (prefill_s + deployment.output_tokens * step_s / batch),
        batch=batch,
        prefill_s=prefill_s,
        step_s=step_s,
    )


def _find_largest_batch(deployment: Deployment, speeds: Speeds, max_batch: int, itl_limit_s: float) -> int:
    """Find the largest batch within the ITL limit by bisection. ITL never decreases as the batch
    grows."""
    low, high = 0, max_batch
    while low < high:
        middle = (low + high + 1) // 2
        if _compute_itl_s(deployment, speeds, middle) <= itl_limit_s:
            low = middle
        else:
            high = middle - 1
    return low


def _compute_itl_s(deployment: Deployment, speeds: Speeds, batch: int) -> float:
    """Return the mean ITL in seconds at saturation with `batch` sequences, including the prefills
    of other requests."""
    step_s = compute_decode_step_s(deployment, speeds, batch)
    return step_s + batch * compute_prefill_s(deployment, speeds) / deployment.output_tokens


def _compute_mean_tokens(deployment: Deployment) -> float:
    return deployment.input_tokens + deployment.output_tokens / 2


def _compute_weights_read_s(deployment: Deployment, speeds: Speeds, tokens: float) -> float:
    bytes_read = deployment.model.count_parameters_read(tokens) * BYTES_PER_PARAMETER[deployment.precision.weights]
    return bytes_read / deployment.degree / speeds.memory_bytes_per_s


def _compute_kv_read_s(deployment: Deployment, speeds: Speeds) -> float:
    tokens, dtype = _compute_mean_tokens(deployment), deployment.precision.kv
    return compute_kv_bytes(deployment.model, tokens, dtype, deployment.degree) / speeds.memory_bytes_per_s


def _estimate_decode_compute_s(deployment: Deployment, speeds: Speeds, batch: float) -> float:
    return 2 * deployment.model.parameters_per_token * batch / (speeds.compute_per_s * deployment.degree)


def _compute_collectives_s(deployment: Deployment, speeds: Speeds, tokens: float) -> float:
    """Return the duration in seconds of all collectives: two all-reduces of the 16-bit hidden
    states per layer."""
    degree = deployment.degree
    if degree == 1:
        return 0.0
    transfer_s = 2 * (degree - 1) / degree * tokens * deployment.model.hidden * 2 / speeds.link_bytes_per_s
    return 2 * deployment.model.layers * (transfer_s + deployment.efficiency.link_latency_s)


class UnmeasuredService(msgspec.Struct, frozen=True):
    """Token service model of an unmeasured replica. `sigma` is the lognormal sigma of a common
    factor on all step and prefill durations."""

    service: TokenService
    basis: Basis
    sigma: float
    risks: tuple[Risk, ...]


class MeasuredReplica(msgspec.Struct, frozen=True):
    """Measured replica, as the basis of an extrapolation. `weight_bytes` is the total size of the
    weights on all `degree` accelerators."""

    weight_bytes: float
    dtype: str
    degree: int = 1
    engine: Engine = Engine()
    host_s: float = 0.0
    """Part of the duration of a step that does not depend on the accelerator, in seconds."""


def build_assumed_service(deployment: Deployment) -> UnmeasuredService | Unavailable:
    """Build a service whose step time is linear in the batch size.

    The step time is exact for one sequence and for the largest batch. In between, the step time is
    slightly too long where compute becomes the bottleneck, and slightly too short for
    mixture-of-experts models. Return `Unavailable` if the model does not fit or a data sheet value
    is unknown.
    """
    speeds = compute_speeds(deployment)
    if isinstance(speeds, Unavailable):
        return speeds
    memory_plan = plan_memory(
        deployment.model, deployment.accelerator, deployment.precision, deployment.degree, deployment.engine
    )
    if isinstance(memory_plan, Unavailable):
        return memory_plan
    tokens = max(1.0, deployment.input_tokens + deployment.output_tokens / 2)
    kv_token_bytes = compute_kv_bytes(deployment.model, tokens, deployment.precision.kv, deployment.degree) / tokens
    kv_tokens = math.floor(memory_plan.kv_pool_bytes / kv_token_bytes) if kv_token_bytes else UNLIMITED_TOKENS
    max_batch = min(deployment.engine.max_sequences, math.floor(kv_tokens / tokens))
    if max_batch < 1:
        return Unavailable(
            "memory", f"the KV cache beside the weights is too small for one sequence of {tokens:.0f} tokens"
        )
    per_kv_token_s = kv_token_bytes / speeds.memory_bytes_per_s
    single_sequence_s, full_batch_s = (
        compute_decode_step_s(deployment, speeds, batch) - batch * tokens * per_kv_token_s for batch in (1, max_batch)
    )
    per_sequence_s = max(0.0, (full_batch_s - single_sequence_s) / (max_batch - 1)) if max_batch > 1 else 0.0
    prompt_tokens = max(1.0, deployment.input_tokens * (1 - deployment.prefix_hit_rate))
    service = TokenService(
        step_s=single_sequence_s - per_sequence_s,
        per_sequence_s=per_sequence_s,
        prefill_s_per_token=compute_prefill_s(deployment, speeds) / prompt_tokens,
        max_sequences=deployment.engine.max_sequences,
        kv_tokens=kv_tokens,
        chunk_tokens=deployment.engine.chunk_tokens,
        per_kv_token_s=per_kv_token_s,
    )
    risk = Risk(
        3,
        f"not measured: times are calculated from the data sheet of {format_accelerator_name(deployment.accelerator)}",
    )
    return UnmeasuredService(service, "assumed", ASSUMED_SIGMA, (risk,))


def extrapolate_service(
    service: TokenService, measured_accelerator: Accelerator, target_accelerator: Accelerator, replica: MeasuredReplica
) -> UnmeasuredService | Unavailable:
    """Extrapolate a measured service model to another accelerator, with the same number of
    accelerators per replica.

    The step time and the time per cached token are divided by the ratio of decode (memory-bound)
    throughput. The prefill time per token and the time per sequence are divided by the ratio of
    compute-bound throughput.
    """
    memory_ratio = estimate_ratio(measured_accelerator, target_accelerator, "decode", replica.dtype, "throughput")
    compute_ratio = estimate_ratio(measured_accelerator, target_accelerator, "saturated", replica.dtype, "throughput")
    if isinstance(memory_ratio, Unavailable):
        return memory_ratio
    if isinstance(compute_ratio, Unavailable):
        return compute_ratio
    cache_ratio = _compute_cache_ratio(replica, measured_accelerator, target_accelerator)
    if isinstance(cache_ratio, Unavailable):
        return cache_ratio
    scaled_service = msgspec.structs.replace(
        service,
        step_s=replica.host_s + max(0.0, service.step_s - replica.host_s) / memory_ratio.factor,
        per_kv_token_s=service.per_kv_token_s / memory_ratio.factor,
        per_sequence_s=service.per_sequence_s / compute_ratio.factor,
        prefill_s_per_token=service.prefill_s_per_token / compute_ratio.factor,
        kv_tokens=math.floor(service.kv_tokens * cache_ratio),
    )
    least_certain_ratio = max(memory_ratio, compute_ratio, key=_get_sigma)
    basis: Basis = "measured" if measured_accelerator.key == target_accelerator.key else "extrapolated"
    return UnmeasuredService(scaled_service, basis, least_certain_ratio.sigma, least_certain_ratio.risks)


def _get_sigma(ratio: Ratio) -> float:
    return ratio.sigma


def _compute_cache_ratio(
    replica: MeasuredReplica, measured_accelerator: Accelerator, target_accelerator: Accelerator
) -> float | Unavailable:
    """Return the ratio of the KV cache sizes on the other and on the measured accelerator, computed
    from the memory that the weights leave free.
    """
    free_bytes = []
    for accelerator in (measured_accelerator, target_accelerator):
        usable_bytes = compute_usable_bytes(accelerator)
        if isinstance(usable_bytes, Unavailable):
            return usable_bytes
        free_bytes.append(replica.engine.utilization * usable_bytes * replica.degree - replica.weight_bytes)
    measured_bytes, target_bytes = free_bytes
    if target_bytes <= 0:
        count_text = "one" if replica.degree == 1 else str(replica.degree)
        return Unavailable(
            "memory",
            f"weights of {replica.weight_bytes / 2**30:.1f} GiB do not fit on {count_text} "
            f"{format_accelerator_name(target_accelerator)}",
        )
    if measured_bytes <= 0:
        return Unavailable(
            "measured_memory",
            f"weights of {replica.weight_bytes / 2**30:.1f} GiB cannot have fit on {replica.degree} "
            f"{format_accelerator_name(measured_accelerator)}: correct the description of the measured replica",
        )
    return target_bytes / measured_bytes
