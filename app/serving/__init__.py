"""Embedded endpoint: serves an ONNX model over HTTP with the Open Inference Protocol v2 and dynamic
batching, or a language model with the OpenAI API."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from app.serving.arguments import ServingOptions
    from app.serving.settings import Announce, EndpointReady, ServingSettings


_MODELS_TEXT = (
    "an .onnx file, the folder of a language model for ONNX Runtime GenAI, or the name of a bundled model such as "
    "digits"
)


def serve(arguments: ServingOptions, token: str | None) -> int:
    """Serve a model in this process until a signal stops it, and return the exit code 0.

    `arguments` are the values of `app.serving.arguments.PARAMETERS`. Requests must include `token`. If
    `token` is None, a token is generated for an endpoint that other machines can reach.
    """
    import msgspec

    from app.serving.arguments import parse_settings

    run_endpoint(msgspec.structs.replace(parse_settings(arguments), token=token), lambda ready: _announce(ready, token))
    return 0


def run_endpoint(settings: ServingSettings, announce: Announce) -> None:
    """Serve the model of an ONNX file, or the language model of a folder, until the endpoint is
    stopped. Raises UsageError if the model is neither."""
    from pathlib import Path

    from app.errors import UsageError

    path = Path(settings.model)
    if not path.exists():
        raise UsageError(f"the model {path} does not exist", hint=f"Set {_MODELS_TEXT}.")
    if path.suffix.lower() == ".gguf":
        raise UsageError(f"{path.name} is a GGUF file, which is measured but not served", hint=f"Set {_MODELS_TEXT}.")
    if path.is_dir():
        from app.serving.generation.server import run_language_model

        run_language_model(settings, announce)
    else:
        from app.serving.server import run

        run(settings, announce)


def _announce(ready: EndpointReady, explicit_token: str | None) -> None:
    """Write the URL of the endpoint to standard output, and messages for the user to standard
    error."""
    import sys

    sys.stdout.write(f"{ready.url}\n")
    sys.stdout.flush()
    if ready.token is not None and explicit_token is None:
        sys.stderr.write(
            f"warning: {ready.url} is reachable from other machines without encryption. "
            "Requests require this token, which changes at each start unless you set --token:\n"
            f"  Authorization: Bearer {ready.token}\n"
        )
    reason = f" ({ready.provider_reason})" if ready.provider_reason else ""
    if ready.language_model is None:
        batching, path = "", f"/v2/models/{ready.model}/infer"
    else:
        batching, path = f" with {ready.language_model.batching} batching", "/v1/chat/completions"
    sys.stderr.write(
        f"the endpoint serves {ready.model} on {ready.provider_used}{reason}{batching}: POST {ready.url}{path}\n"
        "Press Ctrl-C to finish queued requests and stop.\n"
    )
