"""The embedded endpoint that a profile serves itself."""

from __future__ import annotations

from app.profiles.profile import EndpointProfile, OipProfile
from app.serving.limits import Limits
from app.serving.process import EndpointProcess
from app.serving.settings import ServingSettings

_CLIENTS = 65_536
"""Connections of our own load generator, each of whose clients has one."""


def start_endpoint_of(profile: EndpointProfile) -> EndpointProcess:
    """Up when this returns. Raises what a model that cannot be served does."""
    assert isinstance(profile, OipProfile)
    assert profile.target.serve is not None
    serve = profile.target.serve
    endpoint = EndpointProcess(
        ServingSettings(
            model=str(serve.model_path),
            name=profile.target.model,
            provider=serve.provider,
            threads=serve.threads,
            max_batch=serve.max_batch,
            queue_delay_s=serve.queue_delay_s,
            queue_limit=serve.queue_limit,
            leave_with_stdin=True,
            limits=Limits(connections=_CLIENTS),
        )
    )
    endpoint.start()
    return endpoint
