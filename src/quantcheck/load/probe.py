"""What an endpoint really does, found out by two small requests before a load: nothing is taken from its name."""

import http.client
import json
import os
import urllib.error
import urllib.request
from array import array
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import Any

from quantcheck.engines.base import Endpoint
from quantcheck.errors import MeasurementError, SpecError
from quantcheck.load.bodies import Prompt, path, request_body
from quantcheck.load.target import target_of

__all__ = ["Abilities", "probe", "vocabulary_of"]

TIMEOUT_S = 60.0
TRY_TOKENS = 2
SOME_TEXT = "one two three four"


@dataclass(frozen=True, slots=True)
class Abilities:
    """What the server took. `ids`: prompts of token ids. `plain`: it refuses fields beyond OpenAI's protocol, and so
    cannot be told a length. `forced`: the answer had the length that was asked for. `notes`: in words."""

    ids: bool
    plain: bool
    forced: bool
    notes: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def probe(endpoint: Endpoint, *, ids: bool, key_variable: str | None = None) -> Abilities:
    """Sends up to four short requests; `ids`: prompts of token ids are wanted.

    Raises `MeasurementError` when nothing answers, `SpecError` when the server wants a key, or refuses the model or the
    path, with what it said.
    """
    forms: list[tuple[bool, bool]] = [(form, plain) for form in ((True, False) if ids else (False,))
                                      for plain in ((False,) if endpoint.dialect == "llama-server" else (False, True))]
    said = ""
    for with_ids, plain in forms:
        prompt: Prompt = array("i", range(10, 10 + TRY_TOKENS)) if with_ids else SOME_TEXT
        body = request_body(endpoint, prompt, TRY_TOKENS, plain=plain)
        status, text = _post(endpoint, body, key_variable)
        if status == 200:
            # It takes NumPy, which loads while the server answers.
            from quantcheck.load.dialects import read_stream

            answer = read_stream(endpoint.dialect, [text])
            if answer.error:
                raise SpecError(f"{endpoint.base_url}: answered with an error: {answer.error}")
            if not answer.chunks and not answer.done and answer.finish_reason is None and answer.total is None:
                said = text[:200].decode("utf-8", "replace").strip() or "nothing"
                raise SpecError(f"{endpoint.base_url}{path(endpoint.dialect)}: its answer is none of this API's "
                                f"({said}); check --url and --api")
            found = Abilities(with_ids, plain, answer.tokens == TRY_TOKENS or answer.total == TRY_TOKENS)
            return replace(found, notes=tuple(_notes(found, ids, said)))
        said = text[:200].decode("utf-8", "replace").strip()
        if status in (401, 403):
            raise SpecError(f"{endpoint.base_url}: wants an API key (status {status}); put it into an environment "
                            "variable and name that with --key-env")
        if status == 404:
            raise SpecError(f"{endpoint.base_url}{path(endpoint.dialect)}: not found ({said}); check --url, --api and "
                            "--model")
        if status == 429 or status >= 500:
            raise MeasurementError(f"{endpoint.base_url}: not ready to answer (status {status}: {said}); try again "
                                   "when it is")
    raise SpecError(f"{endpoint.base_url}: refuses every form of request that quantcheck knows; the last time: {said}")


def _notes(found: Abilities, ids: bool, said: str) -> list[str]:
    notes = []
    if ids and not found.ids:
        notes.append(f"the server takes no prompts of token ids; text is sent ({said})")
    if found.plain:
        notes.append("the server refuses fields beyond OpenAI's protocol (min_tokens, ignore_eos): it cannot be told "
                     "an answer's length")
    elif not found.forced:
        notes.append("the server did not keep to the length of answer that was asked for")
    return notes


def vocabulary_of(endpoint: Endpoint, key_variable: str | None = None) -> int | None:
    """The size of the model's vocabulary where `/v1/models` tells it (llama-server: meta.n_vocab); else None."""
    try:
        status, text = _ask(endpoint.base_url + "/v1/models", None, key_variable)
        models = json.loads(text).get("data", []) if status == 200 else []
        sizes = [model.get("meta", {}).get("n_vocab") for model in models
                 if model.get("id") == endpoint.model or len(models) == 1]
        return int(sizes[0]) if sizes and sizes[0] else None
    except (MeasurementError, ValueError, AttributeError, TypeError):
        return None


def _post(endpoint: Endpoint, body: bytes, key_variable: str | None) -> tuple[int, bytes]:
    return _ask(endpoint.base_url + path(endpoint.dialect), body, key_variable)


def _ask(url: str, body: bytes | None, key_variable: str | None) -> tuple[int, bytes]:
    headers = {"Content-Type": "application/json", "User-Agent": "quantcheck", "X-Request-Id": "probe"}
    if key_variable is not None:
        headers["Authorization"] = f"Bearer {os.environ[key_variable]}"
    target = target_of(url)
    proxies = {"https" if target.secure else "http": target.proxy} if target.proxy else {}
    opener = urllib.request.build_opener(urllib.request.ProxyHandler(proxies))
    try:
        with opener.open(urllib.request.Request(url, body, headers), timeout=TIMEOUT_S) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error, suppress(OSError, http.client.HTTPException):
            return error.code, error.read()
        return error.code, b""
    except (urllib.error.URLError, OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error) or type(error).__name__
        raise MeasurementError(f"{url}: does not answer ({reason}); start the server, or check --url") from error
