"""Table of the published language models that Sizewise knows by name."""

from __future__ import annotations

from app.analysis.language_models import ListedModel, load_language_models
from app.cli.options import OutputFormat
from app.cli.tables import format_table, print_json
from reports.sections.section import Column

COLUMNS: tuple[Column[ListedModel], ...] = (
    Column("model", "model", lambda model: model.key),
    Column("", "parameters (billion)", lambda model: model.shape.parameters / 1e9),
    Column("parameters", "", lambda model: model.shape.parameters),
    Column("", "active (billion)", lambda model: model.shape.parameters_per_token / 1e9),
    Column("active_parameters", "", lambda model: model.shape.parameters_per_token),
    Column("layers", "layers", lambda model: model.shape.layers),
    Column("hidden", "hidden size", lambda model: model.shape.hidden),
    Column("heads", "heads", lambda model: model.shape.heads),
    Column("kv_heads", "KV heads", lambda model: model.shape.kv_heads),
    Column("experts", "experts", lambda model: model.shape.experts),
    Column("attention", "attention", lambda model: describe_attention(model)),
    Column("context_tokens", "context (tokens)", lambda model: model.shape.context_tokens),
    Column("names", "", lambda model: ";".join(model.names)),
)


def list_known_models() -> list[ListedModel]:
    """Return all models, in order of their keys."""
    return sorted(load_language_models().values(), key=lambda model: model.key)


def describe_attention(model: ListedModel) -> str:
    """Return the kind of attention of a model: full in all layers, latent, or only in some layers."""
    shape = model.shape
    if shape.latent_dim is not None:
        return "latent"
    if shape.window_layers:
        return f"window in {shape.window_layers} layers"
    return f"linear in {shape.linear_layers} layers" if shape.linear_layers else "full"


def print_known_models(output: OutputFormat) -> None:
    """Print all models in a format."""
    models = list_known_models()
    if output == "json":
        print_json(models)
    else:
        print(format_table(COLUMNS, models, output))
