"""Query a server for the names of the models that it serves."""

from __future__ import annotations

import http.client
import re
import urllib.error
import urllib.request
from typing import Any

import msgspec

from app.errors import UnavailableError, UsageError
from app.profiles.secrets import resolve_secret
from app.profiles.url_profile import UrlTarget
from app.records.protocols import get_protocol
from app.wiring.endpoint import require_permission
from app.wiring.proxy import find_proxy
from loadgen.decoding import decode_json
from loadgen.protocols.anthropic import API_HEADERS
from loadgen.records import Tls
from loadgen.transport.opener import Opener, limit_time, read_body

_TIMEOUT_S = 10.0
_MODEL_NAME = re.compile(r"[ -~]{1,256}")
_MAX_BYTES = 1 << 20
_MAX_LISTED = 3


def find_served_model(target: UrlTarget) -> str:
    """Return the name of the only model that the server of a target serves.

    Raises UsageError if the server serves several models or the protocol has no list of models, and
    UnavailableError if the server does not list its models.
    """
    if get_protocol(target.protocol).model_list is None:
        raise UsageError(f"{target.protocol} needs the name of the model", hint="Add --model NAME.")
    names = list_served_models(target)
    if len(names) == 1:
        return names[0]
    if not names:
        raise UnavailableError(f"{target.url} lists no model", hint="Add --model NAME.")
    listed = ", ".join(names[:_MAX_LISTED])
    more = f" and {len(names) - _MAX_LISTED} more" if len(names) > _MAX_LISTED else ""
    raise UsageError(f"{target.url} serves {len(names)} models", hint=f"Choose one with --model: {listed}{more}.")


def list_served_models(target: UrlTarget) -> list[str]:
    """Return the names of the models that the server of a target serves. Raises UnavailableError if
    the server does not list its models."""
    protocol = get_protocol(target.protocol)
    model_list = protocol.model_list
    assert model_list is not None
    if target.url.casefold().startswith(("ws://", "wss://")):
        target = msgspec.structs.replace(target, url=f"http{target.url[2:]}")
    headers = {"Accept": "application/json", **API_HEADERS.get(protocol.api or "", {})}
    url = model_list.build_url(target.url)
    proxy = find_proxy((target.url,))
    if not target.is_permitted:
        require_permission((target.url,), is_proxied=proxy is not None)
    if target.api_key is not None:
        name, prefix = protocol.key_header
        headers[name] = f"{prefix}{resolve_secret(target.api_key)}"
    request = urllib.request.Request(
        url, headers=headers, method=model_list.method, data=b"" if model_list.method == "POST" else None
    )
    opener = Opener((url,), Tls(verify=target.verifies_certificate), lambda _: proxy)
    try:
        with opener.open(request, limit_time(_TIMEOUT_S)) as response:
            content = read_body(response, _MAX_BYTES)
    except urllib.error.HTTPError as error:
        reason = f"HTTP {error.code}"
        error.close()
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = str(getattr(error, "reason", None) or error)
    else:
        try:
            return _read_names(None if content is None else decode_json(content))
        except (msgspec.DecodeError, TypeError, KeyError):
            reason = "the response is not a list of models"
    raise UnavailableError(
        f"{url} does not list the models of the server: {reason}", hint="Add --model NAME, or check the URL."
    )


def _read_names(document: Any) -> list[str]:
    """Return the names in a list of models. OpenAI-compatible servers respond with {"data": [{"id":
    …}]}, and repositories with [{"name": …}]."""
    rows = document if isinstance(document, list) else document["data"]
    names = [row["name"] if isinstance(document, list) else row["id"] for row in rows]
    return [name for name in dict.fromkeys(names) if isinstance(name, str) and _MODEL_NAME.fullmatch(name)]
