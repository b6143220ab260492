"""Format the inspection of a language model as lines for a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from app.cli.tables import TableFormat, format_cell, format_table
from app.records.language_model import (
    DegreeBatch,
    KvCacheSize,
    KvDtypeSource,
    LanguageModelFit,
    LanguageModelFormat,
    LanguageModelInspection,
    LanguageModelMetadata,
)
from app.records.service import UNLIMITED_TOKENS
from reports.sections.section import Column

_COMMON_GPUS = frozenset(
    {"t4", "l4", "rtx-4090", "rtx-5090", "l40s", "a100-sxm4-80gb", "h100-sxm5-80gb", "h200-sxm-141gb", "b200-sxm-180gb",
     "mi300x"}
)  # fmt: skip
"""Keys of the accelerators in the catalog that are shown without `--all-accelerators`."""
_MAX_FILES = 4
_MAX_DEGREE = 8
_DECIMAL_PREFIXES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
_COUNT_PREFIXES = ((1e12, "T"), (1e9, "B"), (1e6, "M"))
_COUNTS = (
    "layers", "window_layers", "linear_layers", "hidden", "heads", "kv_heads", "head_dim", "vocabulary",
    "context_tokens",
)  # fmt: skip
_OPTIONAL_COUNTS = ("latent_dim", "index_dim", "window_tokens", "experts", "experts_per_token")
_LABELS = {
    "hidden": "hidden size",
    "heads": "heads",
    "kv_heads": "KV heads",
    "head_dim": "head size",
    "vocabulary": "vocabulary",
}
_FORMAT_NAMES: dict[LanguageModelFormat, str] = {
    "genai": "ONNX Runtime GenAI",
    "gguf": "GGUF",
    "safetensors": "safetensors",
}
_DTYPE_SOURCE_TEXTS: dict[KvDtypeSource, str] = {"option": "as requested", "assumed": "assumed; set it with --kv-dtype"}
_IMPLIED_DTYPE_TEXTS: dict[LanguageModelFormat, str] = {
    "genai": "the type in the graph",
    "gguf": "the default of llama.cpp",
    "safetensors": "the type in config.json",
}


def format_language_model(inspection: LanguageModelInspection, *, has_all_accelerators: bool) -> Iterator[str]:
    """Yield the lines of an inspection. Without `has_all_accelerators`, the accelerators are those of this
    machine and some common ones."""
    metadata = inspection.model
    yield from _format_files(metadata)
    yield from _format_architecture(metadata)
    yield from _format_cache(inspection)
    yield from _format_fits(inspection, has_all_accelerators=has_all_accelerators)


def format_language_model_tables(inspection: LanguageModelInspection, table_format: TableFormat) -> list[str]:
    """Return the tables of an inspection without notes: properties, and, if the KV cache is known,
    its size by context and the batches that fit on accelerators."""
    tables = [format_table(_PROPERTY_COLUMNS, list(_list_properties(inspection)), table_format)]
    if inspection.kv_caches:
        tables.append(format_table(_CACHE_COLUMNS, inspection.kv_caches, table_format))
    if inspection.fits:
        tables.append(format_table(_build_fit_columns(inspection), inspection.fits, table_format))
    return tables


_Property = tuple[str, str | int | float | None, str | None]
"""Name and value of a property, and the reason if the value is unknown."""
_PROPERTY_COLUMNS = (
    Column[_Property]("property", "property", lambda row: row[0]),
    Column[_Property]("value", "value", lambda row: row[1]),
    Column[_Property]("reason", "reason", lambda row: row[2] or ""),
)


def _list_properties(inspection: LanguageModelInspection) -> Iterator[_Property]:
    metadata = inspection.model
    architecture, weights, missing = metadata.architecture, metadata.weights, metadata.missing
    yield "name", metadata.name, None
    yield "format", metadata.format, None
    yield "architecture", architecture.name, missing.get("name")
    yield "parameters", weights.parameters, missing.get("parameters")
    yield "active_parameters", metadata.active_parameters, missing.get("active_parameters")
    yield "draft_parameters", weights.draft_parameters, None
    yield "weight_bytes", weights.size_bytes, None
    for dtype, size_bytes in weights.bytes_by_dtype.items():
        yield f"weight_bytes_{dtype}", size_bytes, None
    for field in _COUNTS:
        yield field, architecture.counts.get(field), missing.get(field)
    for field in _OPTIONAL_COUNTS:
        if field in architecture.counts or field in missing:
            yield field, architecture.counts.get(field), missing.get(field)
    yield "kv_dtype", inspection.kv_dtype, None
    yield "kv_bytes_per_token", inspection.kv_bytes_per_token, _find_cache_reason(metadata)
    if inspection.window_bytes_per_token is not None:
        yield "window_bytes_per_token", inspection.window_bytes_per_token, None


def _find_cache_reason(metadata: LanguageModelMetadata) -> str | None:
    """Return why the size of the KV cache is unknown; `None` if it is known."""
    if metadata.language_model is not None:
        return None
    fields = ("kv_cache", "layers", "kv_heads", "head_dim", "window_layers", "linear_layers", "hidden", "heads",
              "vocabulary", "parameters")  # fmt: skip
    return next((metadata.missing[field] for field in fields if field in metadata.missing), None)


def _format_files(metadata: LanguageModelMetadata) -> Iterator[str]:
    weights = metadata.weights
    version = "" if metadata.version is None else f" version {metadata.version}"
    tensors = "" if weights.tensors is None else f", {weights.tensors:,} tensors"
    yield f"model         {metadata.name}"
    yield f"format        {_FORMAT_NAMES[metadata.format]}{version}{tensors}"
    yield f"architecture  {_format_known(metadata, 'name', metadata.architecture.name)}"
    for file in metadata.files[:_MAX_FILES]:
        yield f"file          {file.name}, {_format_bytes(file.size_bytes)}"
    if len(metadata.files) > _MAX_FILES:
        rest = metadata.files[_MAX_FILES:]
        yield f"              and {len(rest):,} more, {_format_bytes(sum(file.size_bytes for file in rest))}"
    count = weights.parameters
    yield f"parameters    {_format_known(metadata, 'parameters', None if count is None else _format_count(count))}"
    if metadata.active_parameters != weights.parameters or metadata.active_parameters is None:
        active = metadata.active_parameters
        text = _format_known(metadata, "active_parameters", None if active is None else _format_count(active))
        yield f"active        {text} per token"
    if weights.draft_parameters:
        draft_count = _format_count(weights.draft_parameters)
        yield f"draft layers  {draft_count}, which predict further tokens and are not active"
    dtypes = ", ".join(f"{_format_bytes(size)} {dtype}" for dtype, size in weights.bytes_by_dtype.items())
    yield f"weights       {_format_bytes(weights.size_bytes)} ({dtypes})"


def _format_architecture(metadata: LanguageModelMetadata) -> Iterator[str]:
    counts = metadata.architecture.counts
    yield f"layers        {_format_layers(metadata)}"
    for field, label in _LABELS.items():
        yield f"{label:<14}{_format_known(metadata, field, counts.get(field))}"
    unit = " tokens" if "context_tokens" in counts else ""
    yield f"max context   {_format_known(metadata, 'context_tokens', counts.get('context_tokens'))}{unit}"
    if "latent_dim" in counts:
        yield f"latent cache  {counts['latent_dim']:,} values per layer and token (MLA)"
    if "index_dim" in counts:
        yield f"index cache   {counts['index_dim']:,} values per layer and token (sparse attention)"
    if "experts" in counts or "experts" in metadata.missing:
        used = _format_known(metadata, "experts_per_token", counts.get("experts_per_token"))
        yield f"experts       {_format_known(metadata, 'experts', counts.get('experts'))}, {used} per token"


def _format_layers(metadata: LanguageModelMetadata) -> str:
    counts = metadata.architecture.counts
    text = _format_known(metadata, "layers", counts.get("layers"))
    if "layers" not in counts:
        return text
    parts = []
    if "window_layers" not in counts:
        parts.append(f"with a sliding window: {_format_known(metadata, 'window_layers', None)}")
    elif counts["window_layers"]:
        parts.append(f"{counts['window_layers']} with a window of {counts['window_tokens']:,} tokens")
    if counts.get("linear_layers"):
        parts.append(f"{counts['linear_layers']} without a KV cache that grows")
    return f"{text} ({'; '.join(parts)})" if parts else text


def _format_known(metadata: LanguageModelMetadata, field: str, value: str | int | None) -> str:
    if value is not None:
        return format_cell(value)
    reason = metadata.missing.get(field)
    return "n/a" if reason is None else f"n/a: {reason}"


def _format_cache(inspection: LanguageModelInspection) -> Iterator[str]:
    yield ""
    if inspection.kv_bytes_per_token is None:
        yield f"KV cache and accelerators  n/a: {format_cell(_find_cache_reason(inspection.model))}"
        return
    source = _DTYPE_SOURCE_TEXTS.get(inspection.kv_dtype_source, _IMPLIED_DTYPE_TEXTS[inspection.model.format])
    yield f"KV cache      {inspection.kv_bytes_per_token:,.0f} B per token in {inspection.kv_dtype} ({source})"
    if inspection.window_bytes_per_token is not None:
        window_tokens = inspection.model.architecture.counts["window_tokens"]
        yield f"              {inspection.window_bytes_per_token:,.0f} B per token beyond {window_tokens:,} tokens"
    for cache in inspection.kv_caches:
        yield f"              {_format_bytes(cache.bytes_per_sequence)} for {cache.context_tokens:,} tokens"


_CACHE_COLUMNS = (
    Column[KvCacheSize]("context_tokens", "context"),
    Column[KvCacheSize]("bytes_per_sequence"),
    Column[KvCacheSize]("", "KV cache per sequence", lambda cache: _format_bytes(cache.bytes_per_sequence)),
)


def _format_fits(inspection: LanguageModelInspection, *, has_all_accelerators: bool) -> Iterator[str]:
    if inspection.gpu_note:
        yield f"No GPU was detected: {inspection.gpu_note}"
    if not inspection.fits:
        return
    yield ""
    fits = [fit for fit in inspection.fits if has_all_accelerators or fit.is_installed or fit.key in _COMMON_GPUS]
    yield format_table(_build_fit_columns(inspection), fits)
    hidden_count = len({fit.name for fit in inspection.fits}) - len({fit.name for fit in fits})
    if hidden_count:
        yield f"{hidden_count} more accelerators are shown with --all-accelerators."
    yield (
        "TP is the smallest tensor-parallel size (1, 2, 4 or 8) at which the batch fits, and max the largest batch "
        "that fits at each TP, of sequences as long as the context."
    )
    yield (
        "Weights are as stored, with the planner's allowance for the driver, activations and the engine, and 90 % of "
        "the memory in use. Not measured."
    )
    architecture = inspection.model.architecture
    heads = architecture.counts.get("heads")
    if any(batch.largest_batch is None for batch in inspection.fits[0].batches):
        yield f"n/a: the TP does not divide the {heads} attention heads."
    limit = architecture.counts.get("context_tokens")
    if limit is not None and any(fit.context_tokens > limit for fit in inspection.fits):
        yield f"A context above {limit:,} tokens exceeds the maximum of the model."


def _build_fit_columns(inspection: LanguageModelInspection) -> tuple[Column[LanguageModelFit], ...]:
    first_fit = inspection.fits[0]
    return (
        Column("gpu", "GPU", lambda fit: fit.name),
        Column("is_installed"),
        Column("memory_gib", "GiB"),
        Column("context_tokens", "context"),
        *(
            column
            for index, degree in enumerate(first_fit.degrees)
            for column in _build_degree_columns(index, degree.batch)
        ),
        *(
            column
            for index, batch in enumerate(first_fit.batches)
            for column in _build_batch_columns(index, batch.degree)
        ),
    )


def _build_degree_columns(index: int, batch: int) -> tuple[Column[LanguageModelFit], ...]:
    return (
        Column(f"tp_for_batch_{batch}", "", lambda fit: fit.degrees[index].degree),
        Column("", f"TP for batch {batch}", lambda fit: format_cell(fit.degrees[index].degree or f">{_MAX_DEGREE}")),
    )


def _build_batch_columns(index: int, degree: int) -> tuple[Column[LanguageModelFit], ...]:
    return (
        Column(f"max_batch_tp_{degree}", "", lambda fit: fit.batches[index].largest_batch),
        Column("", f"max, TP {degree}", lambda fit: _format_largest_batch(fit.batches[index])),
    )


def _format_largest_batch(batch: DegreeBatch) -> str:
    if batch.largest_batch is None:
        return "n/a"
    if batch.largest_batch >= UNLIMITED_TOKENS:
        return "unlimited"
    return f"{batch.largest_batch:,}"


def _format_count(count: int) -> str:
    """Format a number of parameters: 8,030,261,248 (8.03B)."""
    rounded_text = _format_rounded(count, _COUNT_PREFIXES).replace(" ", "")  # unlike 8.03 B, which is bytes
    return f"{count:,} ({rounded_text})" if count >= 1e6 else f"{count:,}"


def _format_bytes(size_bytes: float) -> str:
    return f"{_format_rounded(size_bytes, _DECIMAL_PREFIXES)}B" if size_bytes >= 1e3 else f"{size_bytes:.0f} B"


def _format_rounded(number: float, prefixes: tuple[tuple[float, str], ...]) -> str:
    factor, prefix = next((row for row in prefixes if number >= row[0]), prefixes[-1])
    return f"{number / factor:.3g} {prefix}"
