"""A small server that answers like vLLM's /v1/completions from known logits, honest and faulty.

Run as a script, it stands in for `python -m vllm.entrypoints.openai.api_server`: see `main`.
"""

import json
import os
import sys
import threading
import time
from collections.abc import Callable
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

Rows = Callable[[int], NDArray[np.float64]]
"""The model: log-probabilities of the next token, by the token before it."""


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, rows: Rows, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.rows = rows
        self.fault, self.hang_s = "", 1.0
        self.refusals = 0
        self.bodies: list[dict[str, Any]] = []
        self.lock = threading.Lock()
        self.busy = self.busiest = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        with self.server.lock:
            self.server.bodies.append(body)
            self.server.busy += 1
            self.server.busiest = max(self.server.busiest, self.server.busy)
            refused = self.server.refusals > 0
            self.server.refusals -= refused
        fault = self.server.fault
        if fault == "die":
            os._exit(9)
        if fault == "hang":
            time.sleep(self.server.hang_s)
        found = answer(self.server.rows, body, fault)
        status, data = 200, b"not json" if fault == "text" else json.dumps(found).encode()
        if refused or fault == "500":
            status, data = (503, b"busy") if refused else (500, b"EngineCore\n died")
        with self.server.lock:
            self.server.busy -= 1
        try:
            self.send_response(status)
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)
        except OSError:
            pass  # the client had a deadline


def answer(rows: Rows, body: dict[str, Any], fault: str) -> dict[str, Any]:
    prompt: list[int] = body["prompt"]
    seen = [0, *prompt] if fault == "bos" else prompt
    entries: list[dict[str, Any] | None] = [None]
    k = body.get("prompt_logprobs", 0)
    for before, token in pairwise(seen):
        row = rows((before + len(seen)) % _vocabulary(rows)) if fault == "looks ahead" else rows(before)
        top = np.argsort(-row)[:k]
        entries.append({str(t): {"logprob": row[t], "rank": int((row > row[t]).sum()) + 1} for t in [token, *top]})
    written: list[int] = []
    while len(written) < body["max_tokens"]:
        written.append(int(rows((seen + written)[-1]).argmax()))
        if written[-1] in body.get("stop_token_ids", []):
            break
    if fault == "short":
        entries = entries[:-1]
    if fault == "shifted":
        entries = [None, *entries[2:], entries[1]]
    if fault == "zero":
        entries = [entry and {name: {"logprob": 0.0 if name == str(token) else -30.0} for name in entry}
                   for token, entry in zip(seen, entries, strict=True)]
    if fault == "few":
        entries = [entry and dict(list(entry.items())[:3]) for entry in entries]
    if fault == "positive":
        entries = [entry and {name: {"logprob": 1.0} for name in entry} for entry in entries]
    if fault == "raw logits":
        entries = [entry and {name: {"logprob": -0.01} for name in entry} for entry in entries]
    choice: dict[str, Any] = {"text": "?", "prompt_logprobs": None if fault == "ignores" else entries}
    if fault != "no ids":
        choice["token_ids"] = written
    return {"choices": [choice], "usage": {"prompt_tokens": len(seen)}}


def _vocabulary(rows: Rows) -> int:
    return len(rows(0))


def rows_of(vocabulary: int, damage: float = 0.0) -> Rows:
    """Random bigrams, made when they are asked for; `damage`: how far they are from those of no damage."""

    @cache
    def row(token: int) -> NDArray[np.float64]:
        logits, noise = (np.random.default_rng([seed, token]).normal(size=vocabulary) for seed in (0, 1))
        logits = 2 * logits + damage * noise
        found: NDArray[np.float64] = logits - np.log(np.exp(logits).sum())
        return found

    return row


class StandIn(Server):
    """Goes wrong with `kind` from question `number` on."""

    def __init__(self, rows: Rows, port: int, kind: str = "", number: int = 0) -> None:
        super().__init__(rows, port)
        self.hang_s = 60.0
        self._kind, self._number = kind, number

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        if self._kind and len(self.bodies) >= self._number:
            self.fault = self._kind
        super().process_request_thread(request, client_address)


def main(arguments: list[str]) -> None:
    """The model is damaged unless its `--dtype` is bfloat16. STAND_IN_FAULTS is a list of NAME:KIND:NUMBER, NAME being
    what the model is served as.
    """
    print("ARGS " + " ".join(arguments), flush=True)
    given = dict(pairwise(arguments))
    faults = dict(fault.split(":", 1) for fault in os.environ.get("STAND_IN_FAULTS", "").split())
    kind, number = faults.get(given["--served-model-name"], ":0").split(":")
    rows = rows_of(4096, 0.0 if given.get("--dtype") == "bfloat16" else 0.5)
    StandIn(rows, int(given["--port"]), kind, int(number)).serve_forever()


if __name__ == "__main__":
    main(sys.argv[1:])
