"""A random decoder on CUDA compared with the CPU: its generated tokens, and the memory of its weights."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime_genai as genai
import pytest

from app.inference.generation.decoder_files import write_random_decoder
from app.inference.generation.decoder_shape import DecoderShape
from app.inference.generation.model_folder import read_model_folder
from app.inference.generation.runtime import open_generative_model
from app.telemetry.gpu import open_gpus
from app.telemetry.gpu_description import read_used_gib
from tests.fakes import decoders
from tests.gpu.findings import Findings

GIB = 2**30
STEPS = 100
MAX_TIE = 0.02
"""Difference between the CPU's two best logits, as a share of their standard deviation, up to which CUDA may choose the
other one: it rounds products to TF32, with 10 bits, by default."""
MAX_TIES = 5
LARGE = DecoderShape(layers=8, hidden=1024, heads=16, kv_heads=4, feed_forward=3072, vocabulary=8192, context=1024)
"""Its weights have 0.42 GiB in float32."""
MIN_SHARE = 0.9


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("large")
    write_random_decoder(folder, LARGE, decoders.SEED)
    return folder


def test_cuda_and_cpu_choose_same_tokens_except_near_ties(tmp_path: Path, findings: Findings) -> None:
    folder = decoders.contiguous(tmp_path / "decoder")
    steps = zip(logits_of(folder, "cpu"), logits_of(folder, "cuda"), strict=True)
    ties = 0
    for step, (on_cpu, on_cuda) in enumerate(steps):
        chosen, other = int(on_cpu.argmax()), int(on_cuda.argmax())
        if chosen != other:
            gap = float(on_cpu[chosen] - on_cpu[other])
            assert gap <= MAX_TIE * on_cpu.std(), f"step {step}: {other} in place of {chosen}, {gap:.4f} below it"
            ties += 1
    findings.add("drawn decoder, greedy tokens as on the CPU", f"{STEPS - ties} of {STEPS}")
    assert ties <= MAX_TIES


def test_weights_are_in_gpu_memory(tmp_path: Path, large: Path, findings: Findings) -> None:
    small_model = open_model(
        decoders.contiguous(tmp_path / "small"), "cuda"
    )  # CUDA itself takes memory with the first.
    before_gib = used_gib()
    large_model = open_model(large, "cuda")
    taken_gib = used_gib() - before_gib
    del small_model, large_model
    weights_gib = LARGE.weight_bytes / GIB
    findings.add("drawn decoder, GPU memory to weights", f"{taken_gib:.2f} GiB to {weights_gib:.2f} GiB")
    assert taken_gib >= MIN_SHARE * weights_gib


def test_decoder_on_cpu_uses_no_gpu_memory(large: Path) -> None:
    before_gib = used_gib()
    model = open_model(large, "cpu")
    taken_gib = used_gib() - before_gib
    del model
    assert taken_gib < 0.1 * LARGE.weight_bytes / GIB


def open_model(folder: Path, provider: str) -> Any:
    return open_generative_model(read_model_folder(folder), provider, 1)


def used_gib() -> float:
    with open_gpus() as gpus:
        return read_used_gib(gpus.readers[0].handle)


def logits_of(folder: Path, provider: str) -> Iterator[npt.NDArray[np.float32]]:
    """Yield the logits of each step. All providers are given the same random tokens, so that a tie does not change the
    steps after it, and the best tokens differ among the steps."""
    tokens = np.random.default_rng(11).integers(3, decoders.shape().vocabulary, (STEPS, 1)).astype(np.int32)
    model = open_model(folder, provider)
    parameters = genai.GeneratorParams(model)
    parameters.set_search_options(max_length=STEPS + 1)
    generator = genai.Generator(model, parameters)
    for token in tokens:
        generator.append_tokens(token)
        yield np.asarray(generator.get_logits(), np.float32).reshape(-1)
