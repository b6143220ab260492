"""Open a model and its tokenizer with ONNX Runtime GenAI."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import onnxruntime_genai as genai

from app.errors import MeasurementError, SizewiseError, UnavailableError, UsageError
from app.inference.generation.model_folder import GenerativeModel
from app.inference.memory import MEMORY_HINT, is_out_of_memory_message
from app.inference.providers import count_usable_cores, format_too_many_threads
from reports.shortening import shorten

_PROVIDERS = {"cuda": "cuda", "directml": "dml", "openvino": "OpenVINO"}
"""Names of execution providers in ONNX Runtime GenAI, by their name in profiles. The CPU has no
name, because it is used if no provider is set."""
_MAX_MESSAGE_LENGTH = 300


def open_generative_model(model: GenerativeModel, provider: str, threads: int, max_batch: int | None = None) -> Any:
    """Open a checked model and return the `onnxruntime_genai.Model`. `max_batch` is the maximum
    number of requests that an engine batches; `None` for the model's own configuration.

    Threads wait without spinning, so that they take no processor time from other processes. Raises
    UsageError for a provider or a number of threads that cannot be used, UnavailableError if the
    provider is not available, and MeasurementError if the model cannot be opened."""
    cores = count_usable_cores()
    if threads > cores:
        raise UsageError(format_too_many_threads(threads, cores), hint=f"Use at most {cores} threads.")
    if provider != "cpu" and provider not in _PROVIDERS:
        raise UsageError(
            f"language models do not run on the provider {provider}",
            hint=f"Use one of {', '.join(('cpu', *_PROVIDERS))}.",
        )
    try:
        config = genai.Config(model.folder)
        config.clear_providers()
        if provider != "cpu":
            config.append_provider(_PROVIDERS[provider])
        config.overlay(msgspec.json.encode(_build_overlay(model, threads, max_batch)).decode())
        return genai.Model(config)
    except RuntimeError as error:
        raise _convert_error(model, provider, error) from error


def convert_run_error(model: GenerativeModel, error: RuntimeError) -> MeasurementError:
    """Return the error of a model that failed while it ran, given the error of the library."""
    message = shorten(str(error), _MAX_MESSAGE_LENGTH)
    hint = MEMORY_HINT if is_out_of_memory_message(message) else None
    return MeasurementError(f"the model {model.folder} failed: {message}", hint=hint)


def get_genai_version() -> str:
    return str(genai.__version__)


def _build_overlay(model: GenerativeModel, threads: int, max_batch: int | None) -> dict[str, Any]:
    session_options = {
        "intra_op_num_threads": threads,
        "inter_op_num_threads": 1,
        "session.intra_op.allow_spinning": "0",
    }
    overlay: dict[str, Any] = {"model": {"decoder": {"session_options": session_options}}}
    if max_batch is not None:
        batching = "static_batching" if model.paged_cache is None else "dynamic_batching"
        overlay["engine"] = {batching: {"max_batch_size": max_batch}}
    return overlay


def _convert_error(model: GenerativeModel, provider: str, error: RuntimeError) -> SizewiseError:
    message = shorten(str(error), _MAX_MESSAGE_LENGTH)
    if provider != "cpu":
        return UnavailableError(
            f"the model {model.folder} cannot be opened on {provider}: {message}",
            hint="Run `sizewise doctor` to see which providers this machine has, or use cpu.",
        )
    return MeasurementError(f"the model {model.folder} cannot be opened: {message}", hint="Export the model again.")


class ModelTokenizer:
    """Tokenizer of an open model, with its chat template."""

    def __init__(self, model: Any) -> None:
        self._tokenizer = genai.Tokenizer(model)

    def encode(self, text: str) -> tuple[int, ...]:
        return tuple(self._tokenizer.encode(text).tolist())

    def format_chat(self, messages: Sequence[dict[str, str]]) -> str:
        """Format a chat with the model's template, up to the start of the response. Raises
        UsageError if the model has no template, or if the template rejects the messages."""
        try:
            return str(
                self._tokenizer.apply_chat_template(msgspec.json.encode(messages).decode(), add_generation_prompt=True)
            )
        except RuntimeError as error:
            raise UsageError(
                f"the chat template of the model failed: {shorten(str(error), _MAX_MESSAGE_LENGTH)}"
            ) from error

    def create_text_stream(self) -> TextStream:
        return TextStream(self._tokenizer.create_stream())


class TextStream:
    """Decoder of the tokens of one response. A character that spans several tokens is returned with
    the last of them."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def decode(self, token: int) -> str:
        return str(self._stream.decode(token))
