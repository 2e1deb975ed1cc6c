"""A server that the user runs: it is asked what it is, watched, and neither started nor stopped."""

import http.client
import json
import os
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from email.message import Message
from ipaddress import ip_address
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from quantcheck.engines.base import Dialect, Endpoint
from quantcheck.engines.vllm_metrics import Counters
from quantcheck.errors import EngineError, SpecError

__all__ = ["RunningServer", "ask_models", "base_of", "headers_of", "is_here"]

TIMEOUT_S = 10.0
TOLD = ("id", "root", "owned_by", "max_model_len", "quantization")
"""What `/v1/models` may say of a model that stays the same from question to question."""


def base_of(url: str) -> str:
    """The URL without its `/v1`, which every path of ours begins with."""
    return url.rstrip("/").removesuffix("/v1")


def is_here(url: str) -> bool:
    """Whether the server is on this machine: no proxy of the environment may stand between."""
    host = urlsplit(url).hostname or ""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def headers_of(key_variable: str | None) -> dict[str, str]:
    """What carries the key. Raises `SpecError` when its variable is not set."""
    if key_variable is None:
        return {}
    key = os.environ.get(key_variable)
    if not key:
        raise SpecError(f"engine.api_key_env: the environment variable {key_variable} is not set; put the key into it")
    return {"Authorization": f"Bearer {key}"}


def ask_models(url: str, model: str, key_variable: str | None) -> dict[str, Any]:
    """What the server at `url` tells of `model`: JSON values that are the same at every question.

    `served` is the model's entry of `/v1/models` as far as it is known here, with llama-server's `meta`; `software` the
    header `Server`. Raises `EngineError` when the server does not answer, `SpecError` when it wants a key or has no
    such model.
    """
    where = f"{base_of(url)}/v1/models"
    status, headers, text = _get(where, key_variable)
    if status in (401, 403):
        raise SpecError(f"{where}: wants an API key (status {status}); name the environment variable that holds it as "
                        "engine.api_key_env")
    try:
        listed = [entry for entry in json.loads(text)["data"] if isinstance(entry, dict)] if status == 200 else None
    except (ValueError, KeyError, TypeError):
        listed = None
    if listed is None:
        raise EngineError(f"{where}: answered {status}, and not with a list of models; check `url:`")
    found = next((entry for entry in listed if entry.get("id") == model), None)
    if found is None:
        known = ", ".join(str(entry.get("id")) for entry in listed)[:200]
        raise SpecError(f"{where}: has no model {model!r} (it has {known or 'none'}); check `model:`")
    served = {key: found[key] for key in TOLD if isinstance(found.get(key), str | int | float)}
    if isinstance(found.get("meta"), dict):
        served["meta"] = found["meta"]
    return {"served": served, "software": headers.get("Server")}


def _get(where: str, key_variable: str | None) -> tuple[int, Message, bytes]:
    request = urllib.request.Request(where, headers={"User-Agent": "quantcheck", **headers_of(key_variable)})
    handlers = [urllib.request.ProxyHandler({})] if is_here(where) else []
    try:
        with urllib.request.build_opener(*handlers).open(request, timeout=TIMEOUT_S) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers, b""
    except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
        reason = getattr(error, "reason", error) or type(error).__name__
        raise EngineError(f"{where}: does not answer ({reason}); start the server, or check `url:`") from error


@dataclass
class RunningServer:
    """Implements `engines.base.Engine` for one block; `stop` leaves the server as it is."""

    url: str
    model: str
    dialect: Dialect
    key_variable: str | None
    _facts: Mapping[str, Any] | None = None

    def start(self) -> Endpoint:
        self._facts = ask_models(self.url, self.model, self.key_variable)
        return self.endpoint

    @property
    def endpoint(self) -> Endpoint:
        if self._facts is None:
            raise EngineError(f"{self.url} was not asked yet: start first")
        return Endpoint(base_of(self.url), self.model, self.dialect)

    @property
    def pid(self) -> None:
        """Not known: it may be on another machine."""

    @property
    def ready_s(self) -> None:
        """Not known: it was there before."""

    def describe(self) -> Mapping[str, Any]:
        return {"kind": "openai", "url": self.url, "model": self.model, **(self._facts or {})}

    def counters(self) -> Counters | None:
        return None

    def check(self) -> None:
        """Asks nothing while every moment is timed: a server that is gone shows in its answers."""

    def stop(self) -> None:
        """It is the user's."""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
