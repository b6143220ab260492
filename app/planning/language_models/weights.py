"""Parts of the weights of a language model: what an inference engine holds in memory, and what a decode step reads.

Published weights of 8 and 4 bits leave the input embedding and the output head in 16 bits; those of 4 bits of a mixture
of experts also leave everything but the routed experts in 16 bits. The sizes that follow are within 6 % of those of
published files (`tests/app/planning/language_models/test_weights.py`).
"""

from __future__ import annotations

import msgspec

from app.records.dtypes import BYTES_PER_VALUE
from app.records.planning_inputs import LanguageModel

_UNQUANTIZED = "bf16"
_FOUR_BITS = ("fp4", "int4")


class WeightParts(msgspec.Struct, frozen=True):
    """Parameters of a model by what reads them, and the bytes of a parameter.

    `expert_parameters` is the number of one routed expert over all layers. `embedding_parameters` is the number of the
    input embedding and of the output head together, and `head_parameters` that of the head alone; if embeddings are
    tied, they are the same matrix. `other_dtype` is the data type of everything but routed experts and embeddings.
    """

    experts: int
    experts_per_token: int
    expert_parameters: float
    other_parameters: float
    embedding_parameters: float
    head_parameters: float
    other_dtype: str
    expert_bytes: float
    other_bytes: float
    embedding_bytes: float

    @property
    def expert_weight_bytes(self) -> float:
        """Bytes of all routed experts in memory."""
        return self.experts * self.expert_parameters * self.expert_bytes

    @property
    def common_weight_bytes(self) -> float:
        """Bytes of everything else in memory, with both embeddings."""
        return self.other_parameters * self.other_bytes + self.embedding_parameters * self.embedding_bytes

    @property
    def common_read_bytes(self) -> float:
        """Bytes that a decode step reads whatever its sequences are: everything but the routed experts and the input
        embedding, of which it reads one row for each sequence."""
        return self.other_parameters * self.other_bytes + self.head_parameters * self.embedding_bytes


def divide_weights(model: LanguageModel, dtype: str) -> WeightParts:
    """Return the parts of the weights of a model that is published in a data type."""
    experts, per_token = model.experts or 0, model.experts_per_token or 0
    expert_parameters = (
        (model.parameters - model.parameters_per_token) / (experts - per_token) if experts > per_token else 0.0
    )
    common_parameters = max(0.0, model.parameters_per_token - per_token * expert_parameters)
    embedding = model.vocabulary * model.hidden
    embedding_parameters = min((1.0 if model.tied_embeddings else 2.0) * embedding, common_parameters)
    other_dtype = _UNQUANTIZED if model.experts is not None and dtype in _FOUR_BITS else dtype
    return WeightParts(
        experts=experts,
        experts_per_token=per_token,
        expert_parameters=expert_parameters,
        other_parameters=common_parameters - embedding_parameters,
        embedding_parameters=embedding_parameters,
        head_parameters=min(float(embedding), common_parameters),
        other_dtype=other_dtype,
        expert_bytes=BYTES_PER_VALUE[dtype],
        other_bytes=BYTES_PER_VALUE[other_dtype],
        embedding_bytes=max(BYTES_PER_VALUE[_UNQUANTIZED], BYTES_PER_VALUE[dtype]),
    )


def compute_weight_bytes(model: LanguageModel, dtype: str) -> float:
    """Return the size in bytes of all weights in memory."""
    parts = divide_weights(model, dtype)
    return parts.expert_weight_bytes + parts.common_weight_bytes
