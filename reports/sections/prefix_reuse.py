"""Section of the prompt tokens that a prefix cache can serve, and that the server's cache served."""

from __future__ import annotations

from reports.quantity import NamedQuantity
from reports.sections.section import Column, Section

PREFIX_REUSE: Section[NamedQuantity] = Section(
    name="prefix_reuse",
    title="Prefix cache",
    caption="Prefix cache: shares of the prompt tokens in the measured load",
    intervals={"window": "inline"},
    tab="breakdown",
    columns=(Column("name", "part"), Column("quantity", "share of the prompt tokens")),
    layouts={"html": "name | quantity", "window": "name | quantity"},
)
