"""Result of a run of a local model: the data of each variant in addition to its measured stages."""

from __future__ import annotations

from typing import Literal

import msgspec

from app.records.estimate import Count, Estimate, Variant
from app.records.generation import BatchConsistency, TextQuality

OnnxPrecision = Literal["as-is", "fp16", "int8-dynamic", "int8-static"]
"""Precision of an .onnx file, as it is or converted."""
Precision = Literal[OnnxPrecision, "int8", "int4"]
"""Precision of a variant. `int8` and `int4` are the precisions of weights that are converted from a GGUF
file, whose exact values `as-is` computes in float32."""
NoBestReason = Literal["not_trusted", "open", "missed", "cut_short"]
"""Reason why a local run has no best variant. `not_trusted`: no variant has a valid measurement;
`open`: no variant was shown to meet the SLO, but at least one may meet it; `missed`: all variants
missed the SLO; `cut_short`: the run ended before all variants were evaluated."""
Scenario = Literal["single-stream", "multi-stream", "offline", "server", "generation"]
"""MLPerf scenario. `single-stream`: one call after another; `multi-stream`: queries of several
simultaneous calls, each query sent when the previous query ends; `offline`: maximum throughput;
`server`: calls that arrive as a Poisson process. `generation`, which is not from MLPerf: repetitions
of one test of a language model."""


TEST_TAG = "test"
"""Tag of the stages of a language model, with the name of the test."""


class GenerationTest(msgspec.Struct, frozen=True):
    """Test of a language model, as in llama-bench: the model processes `prompt_tokens` tokens at
    once (prefill), and then generates `output_tokens` tokens one by one (decode), after `depth`
    tokens that are already in the KV cache. One of the two counts may be 0."""

    prompt_tokens: int
    output_tokens: int
    depth: int = 0

    @property
    def name(self) -> str:
        """Name of the test as in llama-bench, such as `pp512`, `tg128` or
        `pp512+tg128 @ d4096`."""
        parts = [f"pp{self.prompt_tokens}"] if self.prompt_tokens else []
        parts += [f"tg{self.output_tokens}"] if self.output_tokens else []
        return "+".join(parts) + (f" @ d{self.depth}" if self.depth else "")

    @property
    def total_tokens(self) -> int:
        """Number of tokens in the KV cache at the end of the test."""
        return self.depth + self.prompt_tokens + self.output_tokens

    @property
    def context_tokens(self) -> int:
        """Number of tokens of a sequence that the model must allow: also the first token of a test
        without a prompt, and one that is never reached."""
        return self.total_tokens + 2

    @property
    def needs_single_sequence(self) -> bool:
        """True if the test runs only at a batch of 1: it adds a prompt to a non-empty KV cache,
        which ONNX Runtime GenAI does only for a batch of 1."""
        return self.depth > 0 and self.prompt_tokens > 0


class Placement(msgspec.Struct, frozen=True):
    """Number of nodes of one operator type that run on one execution provider. `is_fallback` is
    true for compute nodes on a provider other than the requested provider."""

    operator: str
    provider: str
    nodes: Count
    is_fallback: bool = False


class Fidelity(msgspec.Struct, frozen=True, kw_only=True):
    """Difference between the outputs of a variant, recorded during the measurement, and the outputs
    of the fp32 reference on the CPU.

    The values are computed over `rows` rows of the model's first floating-point output. Undefined values are None:
    agreement and KL divergence if the output is not class scores, cosine similarity of scalar
    outputs, SQNR of equal outputs (infinite). A row with a NaN or infinity in either output counts
    only for the agreement.
    """

    rows: Count
    top1_agreement: Estimate | None
    """Fraction of rows for which variant and reference have the highest score for the same
    class."""
    cosine_mean: float | None
    cosine_min: float | None
    max_abs: float | None
    """Largest absolute difference between the two outputs; None if no row is finite in both
    outputs."""
    sqnr_db: float | None
    """Signal-to-quantization-noise ratio in dB: 10 log10(Σ y² / Σ (y − y')²), where y is the
    reference."""
    kl_mean: float | None
    """Mean Kullback-Leibler divergence, in nats, of the variant's softmax from the reference's
    softmax."""
    kl_p99: float | None
    is_equal: bool
    """True if all values of the two outputs are equal."""
    not_finite: Count = 0
    """Number of values that are NaN or infinite in only one of the two outputs."""


class Accuracy(msgspec.Struct, frozen=True, kw_only=True):
    """Task metric on labeled rows, compared with the fp32 reference on the same rows.

    `top-1` is a fraction, and higher is better; `mean absolute error` is in the unit of the label,
    and lower is better.
    """

    metric: Literal["top-1", "mean absolute error"]
    value: Estimate
    reference: Estimate | None
    """Value of the metric for the reference; None if there is no reference or if this variant is
    the reference."""
    change: Estimate | None
    """Change of the accuracy: `value` minus `reference`, with a paired confidence interval over the
    rows."""
    retained: Estimate | None
    """Retained accuracy: `value` divided by `reference` for top-1 accuracy, and `reference` divided
    by `value` for the mean absolute error."""
    p_value: float | None
    test: Literal["McNemar", "paired bootstrap"] | None


class BatchModel(msgspec.Struct, frozen=True, kw_only=True):
    """Linear model of the batch latency, S(b) = t0 + t1 × b, where b is the number of rows per
    call. The model is valid up to the largest of `batches`."""

    variant: Variant
    """Variant with the smallest batch size among the fitted variants."""
    t0_ms: Estimate
    t1_ms: Estimate
    r2: float | None
    batches: tuple[Count, ...]
    reason: str | None = None
    """Reason why the linear model does not fit or could not be fitted."""


class Peaks(msgspec.Struct, frozen=True, kw_only=True):
    """Peak compute and memory bandwidth of a processor; one multiply-add counts as two FLOPs.
    `basis` is "measured" (on this machine) or "assumed" (from a data sheet). Unknown values are
    None."""

    name: str
    flops_per_s: float | None
    bytes_per_s: float | None
    basis: Literal["measured", "assumed"]
    source: str


class Bottleneck(msgspec.Struct, frozen=True, kw_only=True):
    """Bottleneck of a variant, with its position under the roofline of the processor that ran the
    variant."""

    limit: Literal["compute", "memory", "launch or host", "copy"] | None
    """Limiting resource; None if no resource clearly limits the variant, as `sentence` explains."""
    sentence: str
    flops_per_s: float | None
    bytes_per_s: float | None
    flops_per_byte: float | None
    roof_share: float | None
    """Achieved rate as a fraction of the roofline limit at the variant's arithmetic intensity."""
    peaks: Peaks | None


class LanguageModelData(msgspec.Struct, frozen=True, kw_only=True):
    """Language model of a variant. `context` is the maximum number of tokens of a sequence."""

    architecture: str
    context: Count
    weight_bytes: Count | None
    """Size of the weights that each step reads, in bytes; None if unknown."""
    kv_bytes_per_token: Count | None
    """Size of the cached keys and values of one token in bytes; None if unknown."""
    prefill_bottleneck: Bottleneck | None = None
    """Bottleneck of the prefill; that of the decode is the bottleneck of the variant."""
    quality: TextQuality | None = None
    """Quality of the predictions on the text of the profile; None without a text, and for all but
    the first variant of a model and execution provider."""
    consistency: BatchConsistency | None = None
    """Comparison of greedy tokens between batch sizes; None if it was not made."""
    parameters: Count | None = None
    """Number of parameters; None in runs of earlier versions."""
    source_dtype: str | None = None
    """Data type of most weights in the GGUF file from which the model was converted, such as Q4_1;
    None for other models."""
    kv_cache_bytes: Count | None = None
    """Size of the KV cache at the end of the longest test, for all sequences of the batch, computed
    from the shape of the model; None if unknown."""
    opened_memory_bytes: Count | None
    """Resident memory of the process after opening the model; None if not reported by this OS."""


class VariantColdStart(msgspec.Struct, frozen=True, kw_only=True):
    """One cold start of a variant in a new process. `is_cached` is true if the runtime could load
    an optimized model or engine that an earlier start had stored."""

    is_cached: bool
    process_ms: float
    """Time in ms from the start of the process to the first line of its program."""
    library_load_ms: float
    session_build_ms: float
    first_inference_ms: float


class VariantData(msgspec.Struct, frozen=True, kw_only=True):
    """Data of one variant, whether or not the variant was measured. `failure` is the reason why the
    variant ended early or was skipped; stages completed before a failure are included in the
    result."""

    variant: Variant
    model_file: str
    model_sha256: str | None
    """SHA-256 hash of the model file that was executed. The executed file of a quantized variant is
    not the user's file."""
    size_bytes: Count | None
    failure: str | None
    hint: str | None = None
    is_excluded: bool = False
    """True if the variant was never started, because a search found that a smaller batch size
    already violates the SLO."""
    provider_used: str | None = None
    placements: tuple[Placement, ...] = ()
    cold_starts: tuple[VariantColdStart, ...] = ()
    fidelity: Fidelity | None = None
    accuracy: Accuracy | None = None
    bottleneck: Bottleneck | None = None
    server_per_s: Estimate | None = None
    """Max rate of Poisson arrivals within the SLO, in calls per second with the variant's batch
    size; None if not searched."""
    is_server_rate_lower_bound: bool = False
    """True if no higher rate than `server_per_s` was shown to miss the SLO; the variant may sustain
    more."""
    is_server_rate_generator_limit: bool = False
    """True if the search ended at the highest rate at which the load generator starts calls on
    time. The rate is then not the max rate of the variant."""
    language_model: LanguageModelData | None = None
    peak_memory_gib: float | None = None
    """Peak resident memory of the variant's process, in GiB."""
    notes: tuple[str, ...] = ()


class LocalResult(msgspec.Struct, frozen=True, kw_only=True):
    """Result of a run of a local model. `best` is the variant with the highest throughput among the
    variants that met the SLO. If there is none, `best` is None and `best_reason` states why."""

    variants: tuple[VariantData, ...]
    batch_models: tuple[BatchModel, ...] = ()
    best: Variant | None = None
    best_reason: NoBestReason | None = None
    equally_fast: tuple[Variant, ...] = ()
    """Further variants that met the SLO and whose throughput does not differ significantly from the
    throughput of `best`."""
    usd_per_hour: float | None = None
    """Price of the hardware in USD per hour, as stated in the profile."""
    price_basis: Literal["measured", "assumed"] = "measured"
    """Basis of the price: "assumed" if the priced hardware is not known to be the measured
    hardware."""
    price_note: str | None = None
    """Date and source of the price."""
