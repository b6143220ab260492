"""Shapes of public models, from their configuration files."""

from __future__ import annotations

from app.records.planning_inputs import LanguageModel

LLAMA_8B = LanguageModel(8.03e9, 32, 4096, 32, 8, 128, 128256)
LLAMA_2_70B = LanguageModel(68.98e9, 80, 8192, 64, 8, 128, 32000)
MIXTRAL = LanguageModel(
    46.7e9, 32, 4096, 32, 8, 128, 32000, active_parameters=12.9e9, experts=8, experts_per_token=2
)  # fmt: skip
# 61 layers that cache a rank of 512 and 64 rotary dimensions each
DEEPSEEK_V3 = LanguageModel(
    671e9, 61, 7168, 128, 128, 128, 129280, active_parameters=37e9, experts=256, experts_per_token=8, latent_dim=576
)
