"""Test the target of a profile with one request, which is sent in the same way as in a run.

The module also reads the TLS parameters of the target in a separate handshake without a request.
"""

from __future__ import annotations

import socket
import ssl
from contextlib import ExitStack
from typing import Any
from urllib.parse import urlsplit

import msgspec

from app.errors import MeasurementError, UnavailableError, UsageError
from app.profiles.endpoint import EndpointSettings
from app.profiles.endpoint_profile import EndpointProfile
from app.profiles.profile import Profile
from app.profiles.secrets import redact_header
from app.profiles.url_profile import UrlTarget
from app.records.protocols import TEMPLATE_MODEL
from app.records.trial import ConnectionTest, Problem, TlsInfo
from app.session.dependencies import LoadGenerator
from app.session.target import find_unreachable_hint
from app.wiring.endpoint import build_endpoint, require_permission
from app.wiring.reference_server import start_scripted
from app.wiring.served_models import list_served_models
from app.wiring.server_process import start_embedded_endpoint
from app.wiring.workload import build_workload, check_tokenizers
from loadgen.process import LoadError, LoadProcess
from loadgen.records import Endpoint, PreflightDone
from loadgen.transport.address import EndpointError
from loadgen.transport.tls import build_tls_context
from loadgen.workloads import Workload
from reports.shortening import shorten

_TLS_PORTS = {"https": 443, "grpcs": 443}


def read_tls_parameters(endpoint: Endpoint) -> TlsInfo | None:
    """Return the TLS parameters of an endpoint. Return `None` if the connection is not encrypted,
    uses a proxy or a Unix socket, or if the handshake fails."""
    url_parts = urlsplit(endpoint.urls[0]) if endpoint.urls else urlsplit("")
    if url_parts.scheme not in _TLS_PORTS or endpoint.proxy is not None or endpoint.unix_socket is not None:
        return None
    host, port = url_parts.hostname or "", url_parts.port or _TLS_PORTS[url_parts.scheme]
    try:
        context = build_tls_context(endpoint.tls)
        if url_parts.scheme == "grpcs":
            context.set_alpn_protocols(["h2"])
        timeout_s = endpoint.timeouts.connect_s
        with (
            socket.create_connection((host, port), timeout=timeout_s) as tcp_socket,
            context.wrap_socket(tcp_socket, server_hostname=host) as tls_socket,
        ):
            return _read_tls_info(tls_socket)
    except (OSError, EndpointError):  # The test request reports this error.
        return None


def _read_tls_info(connection: ssl.SSLSocket) -> TlsInfo:
    certificate: dict[str, Any] = connection.getpeercert() or {}  # typeshed declares a more complex type.
    cipher = connection.cipher()
    return TlsInfo(
        version=connection.version() or "TLS",
        cipher="unknown" if cipher is None else cipher[0],
        subject=_read_common_name(certificate.get("subject", ())),
        issuer=_read_common_name(certificate.get("issuer", ())),
        valid_until=certificate.get("notAfter"),
    )


def _read_common_name(relative_names: tuple[tuple[tuple[str, str], ...], ...]) -> str | None:
    """Return the common name in a distinguished name, or else the organization, limited to 200
    printable characters; `None` if the name has neither."""
    values_by_attribute = {key: value for relative_name in relative_names for key, value in relative_name}
    name = values_by_attribute.get("commonName") or values_by_attribute.get("organizationName")
    return None if name is None else shorten(name)


_PROBLEMS_BY_STATUS: dict[int, Problem] = {
    401: "unauthorized",
    403: "forbidden",
    404: "not found",
    408: "timeout",
    429: "busy",
}
_PROBLEMS_BY_ERROR: dict[str, Problem] = {
    "dns": "dns", "connect": "connect", "tls": "tls", "send": "truncated", "truncated": "truncated",
    "timeout": "timeout",
    "http-4xx": "refused", "http-5xx": "server error", "bad-payload": "wrong response", "bad-output": "wrong response",
    "local-limit": "local limit",
}  # fmt: skip
_REMEDIES: dict[Problem, str] = {
    "busy": "The server limits the request rate. Wait, or raise its limit before the run.",
    "server error": "The server failed on this request. Check the server log.",
    "timeout": "The server may still be loading its model. Wait, or raise target.timeouts.total.",
    "wrong response": "Check that target.protocol is the server's protocol, and that workload.expect matches its "
    "responses.",
    "local limit": "This machine is out of file descriptors, local ports or memory. Raise its limits.",
    "not streaming": "Enable streaming on the server, or set workload.stream: false.",
}
"""Remedies for problems that do not prevent the start of a run. All other problems raise an error,
which contains its own hint."""
_START_HINT = "The run starts this server with target.start. Start it manually to test it, or start the run."


def check_target(profile: Profile) -> ConnectionTest:
    """Send one test request to the target of a profile. An embedded endpoint or scripted server is
    started before the request and stopped afterwards. The model name of a template is replaced by
    the first model that the server lists.

    Raises UsageError if no request can be built, and MeasurementError if the load worker failed.
    """
    if not isinstance(profile, EndpointProfile):
        raise UsageError(
            "this profile runs a model on this machine, so there is no endpoint to test",
            hint="Use `sizewise models inspect MODEL` for the model, or `sizewise doctor` for the machine.",
        )
    served_models = _list_models_for_template(profile)
    if served_models:
        target = profile.target.model_copy(update={"model": served_models[0]})
        profile = profile.model_copy(update={"target": target})
    trial = _send_test_request(profile)
    if not served_models:
        return trial
    note = f"The server lists {served_models[0]}, which replaced the model name of the template."
    return msgspec.structs.replace(trial, served_models=served_models, notes=(*trial.notes, note))


def _list_models_for_template(profile: EndpointProfile) -> tuple[str, ...]:
    """Return the models that the server lists, if the profile has the model name of a template,
    which stands for the model of the server. The result is empty if the server does not list its
    models; the test request then reports what is wrong."""
    target = profile.target
    if not isinstance(target, EndpointSettings) or target.model_name != TEMPLATE_MODEL:
        return ()
    if profile.protocol.model_list is None or not target.all_urls or target.socket is not None:
        return ()
    api_key = getattr(target, "api_key", None)
    listed_target = UrlTarget(
        url=target.all_urls[0], protocol=target.protocol, api_key=api_key, is_permitted=bool(target.permitted)
    )
    try:
        names = list_served_models(listed_target)
    except (UnavailableError, UsageError):
        return ()
    return () if TEMPLATE_MODEL in names else tuple(names)


def _send_test_request(profile: EndpointProfile) -> ConnectionTest:
    workload = build_workload(profile)
    check_tokenizers(workload)
    try:
        endpoint = build_endpoint(profile)
    except UnavailableError as error:  # The host name cannot be resolved.
        return _build_connection_test(profile, workload, PreflightDone("dns", None, str(error), None), None)
    with ExitStack() as exit_stack:
        if not endpoint.urls and profile.protocol.load != "users":
            endpoint = msgspec.structs.replace(endpoint, urls=(_start_own_server(profile, exit_stack),))
        try:
            generator = _start_generator(profile, exit_stack)
            generator.configure(endpoint, workload)
            report = generator.preflight()
        except LoadError as error:
            report = _build_failed_preflight(error)
    if not profile.target.permitted:
        require_permission(report.hosts)
    return _build_connection_test(profile, workload, report, endpoint)


def _start_generator(profile: EndpointProfile, exit_stack: ExitStack) -> LoadGenerator:
    if profile.protocol.load == "job":
        from loadgen.protocols.openai_batch import BatchJob

        return BatchJob()
    module = "loadgen.locustfile" if profile.protocol.load == "users" else "loadgen.worker"
    return exit_stack.enter_context(LoadProcess(module))


def _start_own_server(profile: EndpointProfile, exit_stack: ExitStack) -> str:
    mock_protocol = profile.target.build_mock()
    if mock_protocol is not None:
        scripted_server = start_scripted(mock_protocol)
        exit_stack.callback(scripted_server.close)
        return scripted_server.url
    embedded_endpoint = start_embedded_endpoint(profile)
    exit_stack.callback(embedded_endpoint.stop)
    return embedded_endpoint.ready.base_url


def _build_failed_preflight(error: LoadError) -> PreflightDone:
    if error.is_workload_invalid:
        raise UsageError(error.message, hint=error.hint) from error
    if error.error is None:
        raise MeasurementError(error.message, hint=error.hint) from error
    return PreflightDone(error.error, None, error.message, None)


def _build_connection_test(
    profile: EndpointProfile, workload: Workload, report: PreflightDone, endpoint: Endpoint | None
) -> ConnectionTest:
    target = profile.target
    wants_stream = profile.protocol.generates_text and bool(getattr(profile.workload, "stream", False))
    problem = classify_problem(report, wants_stream=wants_stream)
    unreachable_hint = find_unreachable_hint(report, workload)
    remedy = unreachable_hint or (None if problem is None else _REMEDIES[problem])
    if problem == "connect" and target.start is not None:
        remedy = _START_HINT
    return ConnectionTest(
        url=", ".join(target.all_urls) or "server started for this test",
        protocol=target.protocol,
        model=target.model_name,
        is_measurable=unreachable_hint is None,
        problem=problem,
        summary=_NOT_STREAMED_MESSAGE if problem == "not streaming" else report.detail,
        hint=remedy,
        status=report.status,
        wants_stream=wants_stream,
        first_byte_ms=report.first_byte_ms,
        first_token_ms=report.first_token_ms,
        total_ms=report.service_ms,
        tokens_out=report.tokens_out,
        bytes_received=report.bytes_received,
        tls=None if endpoint is None or problem in ("dns", "connect", "local limit") else read_tls_parameters(endpoint),
        request_headers=_build_request_headers(target) if isinstance(target, EndpointSettings) else (),
        response_headers=report.headers,
        notes=report.notes,
    )


_NOT_STREAMED_MESSAGE = (
    "a stream was requested, but the response was not streamed, so its time to first token is unknown"
)


def classify_problem(report: PreflightDone, *, wants_stream: bool) -> Problem | None:
    if report.error is None:
        is_not_streamed = wants_stream and report.status is not None and report.first_token_ms is None
        return "not streaming" if is_not_streamed else None
    if report.status in _PROBLEMS_BY_STATUS:
        return _PROBLEMS_BY_STATUS[report.status]
    return _PROBLEMS_BY_ERROR[report.error]


def _build_request_headers(target: EndpointSettings) -> tuple[tuple[str, str], ...]:
    """Return the request headers as written in the profile, with references to secrets instead of
    the secrets."""
    name, prefix = target.key_header
    key_headers = () if target.api_key is None else ((name, f"{prefix}{target.api_key}"),)
    return (*key_headers, *((name, redact_header(name, text)) for name, text in target.headers.items()))
