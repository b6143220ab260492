"""Run the servers of `loadgen.reference` in child processes, each on a free loopback port: null
servers for calibration, and the scripted server of a profile."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path
from typing import assert_never

import msgspec

from app.errors import MeasurementError
from app.profiles.profile import (
    BatchProfile,
    EmbeddingsProfile,
    EndpointProfile,
    GeneratingProfile,
    GrpcProfile,
    HttpProfile,
    ImageProfile,
    LocustProfile,
    OipGrpcProfile,
    OipProfile,
    RealtimeProfile,
    RerankProfile,
    SpeechProfile,
    TfServingProfile,
    TorchServeProfile,
    TranscriptionProfile,
)
from app.profiles.target import ScriptedSettings, ScriptedTensors, ScriptedTexts, ScriptedTokens, parse_tensor
from app.records.calibration import LoadKind
from app.telemetry.processes import read_cpu_s
from loadgen.child import ChildExit, start_module, wait_or_kill
from loadgen.payloads.tensors import TensorInput
from loadgen.reference.script import (
    HttpMock,
    MockProtocol,
    OipMock,
    OpenAiMock,
    Reply,
    Script,
    ServiceModel,
    TfServingMock,
    TorchServeMock,
)

_EXIT_LIMIT_S = 2.0


class ReferenceServer:
    """A reference server in a child process. When the constructor returns, the server accepts
    requests. `path` is appended to the URL of the server.

    The constructor raises MeasurementError if the server does not start.
    """

    def __init__(self, module: str, *arguments: str, path: str = "/") -> None:
        self._child = start_module(module, *arguments, stdout=subprocess.PIPE)
        assert self._child.stdout is not None
        port = self._child.stdout.readline().strip()
        if not port.isdigit():
            self.close()
            raise MeasurementError(f"the server {module} did not start", hint="Check the output of the server above.")
        self.pid = self._child.pid
        self._child_exit = ChildExit(self._child)
        self.url = f"http://127.0.0.1:{int(port)}{path}"

    def end_reason(self) -> str | None:
        """Return how the server ended; `None` while the server is running."""
        return self._child_exit.describe()

    def close(self) -> None:
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._child.stdin.close()
        wait_or_kill(_EXIT_LIMIT_S, self._child)
        self._child.stdout.close()


_MODULES: dict[LoadKind, str] = {"plain": "loadgen.reference.null", "streaming": "loadgen.reference.null_streams"}


class NullServerProcess(ReferenceServer):
    """A null server in a child process. The constructor raises MeasurementError if the server does
    not start."""

    def __init__(self, kind: LoadKind) -> None:
        super().__init__(_MODULES[kind])

    def cpu_s(self) -> float | None:
        return read_cpu_s(self.pid)


SCRIPTED_NOTE = (
    "The target was a scripted server with known response times. The results are those of the script, not of a model."
)


def find_mock_protocol(profile: EndpointProfile) -> MockProtocol | None:
    """Return the mock protocol of a scripted target; `None` if the target is not scripted."""
    match profile:
        case HttpProfile():
            settings = profile.target.scripted
            return None if settings is None else HttpMock(_build_service_model(settings), response=settings.response)
        case GeneratingProfile():
            token_settings = profile.target.scripted
            if token_settings is None:
                return None
            return OpenAiMock(
                _build_service_model(token_settings),
                model=profile.target.model,
                output_tokens=token_settings.output_tokens,
            )
        case EmbeddingsProfile() | RerankProfile():
            text_settings = profile.target.scripted
            return (
                None
                if text_settings is None
                else OpenAiMock(_build_service_model(text_settings), model=profile.target.model)
            )
        case OipProfile():
            oip_settings = profile.target.scripted
            return (
                None
                if oip_settings is None
                else OipMock(_build_service_model(oip_settings), profile.target.model, *_build_tensors(oip_settings))
            )
        case TfServingProfile():
            tf_settings = profile.target.scripted
            if tf_settings is None:
                return None
            return TfServingMock(
                _build_service_model(tf_settings),
                profile.target.model,
                *_build_tensors(tf_settings),
                profile.target.signature,
            )
        case TorchServeProfile():
            torch_settings = profile.target.scripted
            return (
                None
                if torch_settings is None
                else TorchServeMock(_build_service_model(torch_settings), profile.target.model, torch_settings.response)
            )
        case (
            OipGrpcProfile()
            | LocustProfile()
            | GrpcProfile()
            | BatchProfile()
            | SpeechProfile()
            | TranscriptionProfile()
            | ImageProfile()
            | RealtimeProfile()
        ):
            return None
        case _:
            assert_never(profile)


def start_scripted(mock_protocol: MockProtocol) -> ReferenceServer:
    """Start the scripted server of a profile. Raises MeasurementError if the server does not
    start."""
    reply = Reply() if isinstance(mock_protocol, HttpMock) else Reply(status=404)
    path = "/v1" if isinstance(mock_protocol, OpenAiMock) else "/" if isinstance(mock_protocol, HttpMock) else ""
    with tempfile.TemporaryDirectory(prefix="sizewise-") as folder:
        script = Path(folder) / "script.json"
        script.write_bytes(msgspec.json.encode(Script(reply=reply, protocols=(mock_protocol,))))
        return ReferenceServer("loadgen.reference.scripted", "--script", str(script), path=path)


def _build_service_model(settings: ScriptedSettings) -> ServiceModel:
    return ServiceModel(
        delay_s=settings.delay_s,
        sigma=settings.spread,
        servers=settings.parallel,
        tokens_per_s=settings.tokens_per_s if isinstance(settings, ScriptedTokens) else None,
        row_s=settings.row_s if isinstance(settings, ScriptedTensors | ScriptedTexts) else 0.0,
        seed=settings.seed,
    )


def _build_tensors(settings: ScriptedTensors) -> tuple[tuple[TensorInput, ...], tuple[TensorInput, ...]]:
    return _build_tensor_inputs(settings.inputs), _build_tensor_inputs(settings.outputs)


def _build_tensor_inputs(tensors: dict[str, str]) -> tuple[TensorInput, ...]:
    return tuple(TensorInput(name, *parse_tensor(text)) for name, text in tensors.items())
