"""Profile class of a protocol that exists only in tests: JSON over HTTP, at a path with the name of the model."""

from __future__ import annotations

from typing import Literal
from urllib.parse import quote

from pydantic import Field

from app.profiles.endpoint import EndpointSettings
from app.profiles.endpoint_profile import EndpointProfile
from app.profiles.settings import Settings
from app.profiles.target import ModelName, ScriptedResponses
from app.profiles.workload import encode_body
from loadgen.reference.script import HttpMock
from loadgen.workloads import HttpWorkload


class ToyTarget(EndpointSettings):
    protocol: Literal["toy"]
    """Protocol of the target."""
    model: ModelName = Field(examples=["my-model"])
    """Name of the model on the server."""
    scripted: ScriptedResponses | None = None
    """Server with configured response times that the run starts."""

    def build_mock(self) -> HttpMock | None:
        scripted = self.scripted
        return None if scripted is None else HttpMock(scripted.build_service_model(), response=scripted.response)


class ToyRequests(Settings):
    question: str = "why"
    """Question of each request."""


class ToyProfile(EndpointProfile):
    target: ToyTarget
    """Target to measure."""
    workload: ToyRequests = ToyRequests()
    """Content of the requests."""

    def build_workload(self) -> HttpWorkload:
        path = f"/toy/{quote(self.target.model, safe='')}/answer"
        body = encode_body({"question": self.workload.question})
        return HttpWorkload("POST", path, (body,), "application/json")
