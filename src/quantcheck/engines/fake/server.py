"""The fake server's process: `python -m quantcheck.engines.fake.server SCRIPT`.

All bytes of a stream are built when its request arrives, each chunk is then sent at its due time, and the clock is
read immediately before that (`loop.py`). A request's record goes to the log when the request is over (`journal.py`).
"""

import gc
import os
import sys
import time
from collections import deque

import orjson

from quantcheck.engines.fake import dialect
from quantcheck.engines.fake.frames import Frames
from quantcheck.engines.fake.journal import Journal, Record, open_file
from quantcheck.engines.fake.loop import Answer, Connection, Loop
from quantcheck.engines.fake.plan import Plan, body_reply, effective, plan
from quantcheck.engines.fake.processes import Family, listen
from quantcheck.engines.fake.script import Script
from quantcheck.engines.fake.shared import Shared
from quantcheck.engines.fake.wire import HttpRequest
from quantcheck.engines.loopback import LOOPBACK
from quantcheck.engines.ready import announce

__all__ = ["EXIT_SCRIPTED", "main"]

EXIT_SCRIPTED = 70
ROUTES: dict[str, dialect.Kind] = {
    "/v1/completions": "completion", "/v1/chat/completions": "chat", "/completion": "llama",
}


class _Server:
    """What one process answers."""

    def __init__(self, script: Script, shared: Shared, log: int | None) -> None:
        self.script, self._shared = script, shared
        self._frames = Frames(script)
        self._journal = Journal(log)
        self._waiting: deque[tuple[Connection, dialect.Request, Record, bool]] = deque()
        self.loop = Loop(
            self._journal, on_request=self._on_request, on_over=self._on_over, on_death=self._on_death,
            split=script.split, knee=script.knee,
            hold_until=self._stalled_until if script.stall_at_s is not None else None,
        )

    def run(self) -> None:
        """Serves until the loop is told to stop; then everything is in the log."""
        gc.collect()
        gc.freeze()
        gc.disable()
        self.loop.run()
        self._finish()

    def _finish(self) -> None:
        waiting, self._waiting = self._waiting, deque()
        self.loop.drain()
        for connection, _, record, _ in waiting:
            self._never_begun(connection, record)
        self._journal.finish()

    def _stalled_until(self) -> int:
        first_ns = self._shared.first_request_ns()
        if not first_ns or self.script.stall_at_s is None:
            return 0
        begin_ns = first_ns + round(1e9 * self.script.stall_at_s)
        end_ns = begin_ns + round(1e9 * self.script.stall_s)
        return end_ns if begin_ns <= time.monotonic_ns() < end_ns else 0

    def _on_request(self, connection: Connection, request: HttpRequest, read_ns: int, arrived_ns: int) -> None:
        close = not (request.keep and self.script.keep_alive)
        kind = ROUTES.get(request.path)
        if kind is None or request.method != "POST":
            return self._reply(connection, self._route(request), close)
        try:
            asked = dialect.read(kind, orjson.loads(request.body), self.script)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            return self._reply(connection, (f"bad request: {error!r}", "400 Bad Request"), close)
        if asked.id_prompt and self.script.reject_ids:
            return self._reply(connection, ("prompts of token ids are not accepted", "400 Bad Request"), close)
        self._shared.first_request_ns(read_ns)
        number = self._shared.next_request()
        name = request.id or str(number)
        record = Record(name, kind, asked.prompt_tokens, asked.asked,
                        effective(self.script.strikes(name, number), asked), read_ns, arrived_ns)
        self._waiting.append((connection, asked, record, close))
        return self._admit(read_ns)

    def _admit(self, now_ns: int) -> None:
        """Begins the requests that have a slot, in order of arrival."""
        slots, loop = self.script.slots, self.loop
        while self._waiting and (slots is None or loop.busy < slots):
            connection, request, record, close = self._waiting.popleft()
            if connection.closed:
                self._never_begun(connection, record)
                continue
            steps = plan(self.script, self._frames, request, record.fault, now_ns, close)
            record.due_ns, record.counts = steps.due_ns, steps.counts
            answer = Answer(connection, steps, record)
            record.sent_ns = answer.sent
            loop.busy += 1
            loop.begin(answer)
        self._shared.publish(busy=loop.busy, deferred=len(self._waiting))

    def _never_begun(self, connection: Connection, record: Record) -> None:
        record.end_ns, record.client_left = time.monotonic_ns(), connection.closed
        self._journal.add(record)

    def _on_over(self, answer: Answer, left: bool) -> None:
        record = answer.record
        if record is not None:
            record.end_ns, record.client_left = time.monotonic_ns(), left
            self._journal.add(record)
            self.loop.busy -= 1
            self._admit(record.end_ns)
            self._shared.publish_chunks(self.loop.chunks, self.loop.late_ns)

    def _on_death(self, answer: Answer) -> None:
        self._finish()
        os._exit(EXIT_SCRIPTED)

    def _reply(self, connection: Connection, reply: bytes | tuple[str, str], close: bool) -> None:
        """Answers at once: a text of metrics, or a JSON body (with an error's message and status)."""
        status, kind = "200 OK", "application/json"
        if isinstance(reply, tuple):
            message, status = reply
            reply = orjson.dumps({"error": {"message": message}})
        elif not reply.startswith(b"{"):
            kind = "text/plain"
        data = body_reply(reply, status, kind=kind, close=close, says_close=self.script.says_close)
        self.loop.begin(Answer(connection, Plan([0], [data], [()], "close" if close else "next")))

    def _route(self, request: HttpRequest) -> bytes | tuple[str, str]:
        if request.path == "/health":
            if self.script.fault == "never-healthy":
                return "scripted: never healthy", "503 Service Unavailable"
            return b'{"status":"ok"}'
        if request.path == "/v1/models":
            return orjson.dumps({"object": "list", "data": [{"id": self.script.model, "object": "model"}]})
        if request.path == "/metrics":
            self._shared.publish_chunks(self.loop.chunks, self.loop.late_ns)
            return self._shared.metrics().encode()
        if request.path == "/tokenize" and request.method == "POST":
            try:
                return orjson.dumps({"tokens": list(str(orjson.loads(request.body).get("content", "")).encode())})
            except (AttributeError, ValueError) as error:
                return f"bad request: {error!r}", "400 Bad Request"
        return f"no route {request.method} {request.path}", "404 Not Found"


def main(argv: list[str]) -> int:
    """Serves until SIGTERM, or until one of the processes ends."""
    script = Script.from_json(argv[1])
    time.sleep(script.start_delay_s)
    if script.fault == "die-at-start":
        print("quantcheck fake engine: scripted death at start", flush=True)
        return EXIT_SCRIPTED
    log = open_file(script.log) if script.log else None
    listener = listen(script.port)
    shared = Shared(script.processes)
    family = Family(script.processes)
    family.fork()
    shared.mine(family.index)
    server = _Server(script, shared, log)
    family.join(server.loop, listener)
    if family.index == 0:
        announce({"base_url": f"http://{LOOPBACK}:{listener.getsockname()[1]}"})
    server.run()
    return family.leave()


if __name__ == "__main__":
    sys.exit(main(sys.argv))
