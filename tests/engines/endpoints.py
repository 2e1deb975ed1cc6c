"""A small server that answers like OpenAI's /v1/completions from a byte model, honestly or not in one way.

`rows`: log-probabilities of the next token, given all tokens before it. It spells tokens as text, or by their ids where
it is asked to and `ids` lets it; spellings that several tokens share are merged, as in such servers.
"""

import json
import threading
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

Rows = Callable[[Sequence[int]], NDArray[np.float64]]
"""Token ids [n] to log-probabilities [n, vocabulary]: row i predicts token i + 1."""


class EndpointServer(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(
        self, rows: Rows, spellings: Sequence[str], *, ids: bool = True, fault: str = "", end: int = -1,
        text: Callable[[NDArray[np.int32]], str] | None = None,
    ) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.rows, self.spellings, self.ids, self.fault, self.end = rows, spellings, ids, fault, end
        self.text = text or _bytes
        self.bodies: list[dict[str, Any]] = []
        self.keys: set[str | None] = set()
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01})

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()

    def answer(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        prompt, fault = body["prompt"], self.fault
        if isinstance(prompt, str):
            prompt = list(prompt.encode())
        elif fault == "no ids":
            return 400, {"error": {"message": "prompt must be a string"}}
        if fault == "strict" and "return_tokens_as_token_ids" in body:
            return 400, {"error": {"message": "unknown field return_tokens_as_token_ids"}}
        if fault == "few logprobs" and body.get("logprobs", 0) > 1:
            return 400, {"error": {"message": "logprobs: at most 1"}}
        if fault == "error event":
            return 200, {"error": {"message": "out of\nmemory"}}
        first = prompt[0]
        seen = {"double bos": [first, *prompt], "hidden bos": [first, *prompt], "missing bos": prompt[1:],
                "wrong tokens": [*prompt[:2], *[(token + 1) % 200 for token in prompt[2:]]]}.get(fault, prompt)
        rows = self.rows(seen)
        if fault == "looks ahead":  # what follows the middle changes what stands before it
            rows = rows.copy()
            rows[2:5] += np.sin(np.arange(rows.shape[1]) * sum(seen))
            rows -= np.log(np.exp(rows).sum(axis=1, keepdims=True))
        written: list[int] = []
        tail = rows[-1]
        wrote: list[NDArray[np.float64]] = []
        while len(written) < body["max_tokens"]:
            token = int(tail.argmax())
            if token == self.end and fault != "writes the end":
                break
            written.append(token)
            wrote.append(tail)
            if token == self.end:
                break
            tail = self.rows([*seen, *written])[-1]
        ended = len(written) < body["max_tokens"] or (written and written[-1] == self.end)
        echo = bool(body.get("echo")) and fault != "ignores echo"
        tokens = [*seen, *written] if echo else written
        used = [None, *rows[:-1], *wrote] if echo else wrote
        values = [None if row is None else float(row[token]) for row, token in zip(used, tokens, strict=True)]
        tops = [None if row is None else self._top(row, token, body) for row, token in zip(used, tokens, strict=True)]
        names = [self._spell(token, body) for token in tokens]
        if echo and fault == "drops the last":
            names, values, tops = names[:-1], values[:-1], tops[:-1]
        if echo and fault == "hidden bos":
            names, values, tops = names[1:], values[1:], tops[1:]
        if echo and fault == "shifted early":
            values, tops = [None, *values[2:], -1.0], [None, *tops[2:], {"a": -0.1}]
        if echo and fault == "shifted late":
            values, tops = [None, -1.0, *values[1:-1]], [None, {"a": -0.1}, *tops[1:-1]]
        if echo and fault == "values alone shifted":
            values = [None, *values[2:], -1.0]
        if echo and fault == "nan":
            values[3] = float("nan")
        if echo and fault == "null":
            values[3] = None
        if echo and fault == "zero":
            values = [None, *[0.0] * (len(values) - 1)]
            tops = [None, *[{name: 0.0} for name in names[1:]]]
        if echo and fault == "first value":
            values[0] = -1.0
        if echo and fault == "temperature":
            values = [None, *[value and 0.5 * value for value in values[1:]]]
        logprobs = None if "logprobs" not in body else {
            "tokens": names, "token_logprobs": values, "top_logprobs": None if fault == "no top" else tops}
        choice = {"text": self.text(np.array(written, dtype=np.int32)), "logprobs": logprobs,
                  "finish_reason": "stop" if ended else "length"}
        return 200, {"choices": [choice], "usage": {"prompt_tokens": len(seen) - (fault == "hidden bos")}}

    def _spell(self, token: int, body: dict[str, Any]) -> str:
        by_id = self.ids and body.get("return_tokens_as_token_ids")
        return f"token_id:{token}" if by_id else self.spellings[token]

    def _top(self, row: NDArray[np.float64], own: int, body: dict[str, Any]) -> dict[str, float]:
        likeliest = np.argsort(-row, kind="stable")[: body.get("logprobs", 0)].tolist()
        return {self._spell(token, body): float(row[token]) for token in [*likeliest, own]}


def _bytes(tokens: NDArray[np.int32]) -> str:
    return bytes(token for token in tokens.tolist() if token < 256).decode("utf-8", "replace")


class _Handler(BaseHTTPRequestHandler):
    server: EndpointServer

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._send(200, {"data": [{"id": "m", "owned_by": "test"}]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.bodies.append(body)
        self.server.keys.add(self.headers.get("authorization"))
        self._send(*self.server.answer(body))

    def _send(self, status: int, found: dict[str, Any]) -> None:
        data = json.dumps(found).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
