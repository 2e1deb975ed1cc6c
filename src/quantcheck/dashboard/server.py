"""The dashboard's server: on loopback, for this machine's own browser, and read-only.

A page of another site can send requests to a loopback address too. It gets nothing: answers carry no CORS header, a
name that was pointed here (DNS rebinding) fails at the Host header, and what a browser says comes from elsewhere is
refused.
"""

import asyncio
import errno
import json
import signal
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from aiohttp import web

from quantcheck.dashboard.figures import Made
from quantcheck.dashboard.page import live_page, policy
from quantcheck.dashboard.watch import Watch
from quantcheck.errors import SpecError
from quantcheck.report.runs import Run, State

__all__ = ["HOST", "Dashboard", "serve"]

HOST = "127.0.0.1"
PING_S = 15.0
HEADERS = {
    "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer", "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin", "Server": "quantcheck",
}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Dashboard:
    """The runs below `folders` on 127.0.0.1; use it as an async context manager.

    `port` 0: any free one. Raises `SpecError` when the port cannot be had. `address` is set once it is up.
    """

    def __init__(self, folders: Sequence[Path], port: int) -> None:
        self.address = ""
        self._port = port
        self._watch = Watch(folders)
        self._page = live_page()
        self._policy = policy(self._page)
        self._ending = False
        app = web.Application(middlewares=[self._guard])
        app.on_response_prepare.append(self._head)
        for path, handler in (("/", self._index), ("/events", self._events), ("/summary", self._summary),
                              ("/comparison", self._comparison), ("/record", self._record)):
            app.router.add_get(path, handler, allow_head=False)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)

    async def __aenter__(self) -> "Dashboard":
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, HOST, self._port).start()
        except OSError as error:
            await self._runner.cleanup()
            why = "is in use" if error.errno == errno.EADDRINUSE else f"cannot be had ({error.strerror})"
            raise SpecError(f"port {self._port} {why}; give another one with --port") from error
        self._port = self._runner.addresses[0][1]
        self.address = f"http://{HOST}:{self._port}/"
        self.looking = asyncio.create_task(self._watch.go_on())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._ending = True
        self.looking.cancel()
        await self._watch.close()
        await self._runner.cleanup()
        with suppress(asyncio.CancelledError):
            await self.looking

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        names = (HOST, "localhost", "[::1]")
        ours = {*(f"{name}:{self._port}" for name in names), *(names if self._port == 80 else ())}
        hosts = request.headers.getall("Host", [])
        if len(hosts) != 1 or hosts[0].lower() not in ours:
            return _refused(403, f"this server is {self.address} and answers to no other name or port")
        if request.method != "GET":
            return web.json_response({"reason": "this server only shows: GET"}, status=405, headers={"Allow": "GET"})
        if request.path != "/" and request.headers.get("Sec-Fetch-Site", "none") not in ("same-origin", "none"):
            return _refused(403, "asked for by another site's page")
        try:
            return await handler(request)
        except web.HTTPException as error:
            return _refused(error.status, error.reason)

    async def _head(self, _request: web.Request, response: web.StreamResponse) -> None:
        response.headers.update(HEADERS)
        response.headers.setdefault("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")

    async def _index(self, _request: web.Request) -> web.StreamResponse:
        return web.Response(text=self._page, content_type="text/html",
                            headers={"Content-Security-Policy": self._policy})

    async def _events(self, request: web.Request) -> web.StreamResponse:
        """Server-sent events: where the runs stand, at once and whenever that changes; `run` is the one shown.

        Its cells come as an event of their own, `cells`.
        """
        name = request.query.get("run")
        stream = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await stream.prepare(request)
        sent: dict[str, Any] = {}
        with self._watch.looking_at(name), suppress(ConnectionError):
            await stream.write(b"retry: 1000\n\n")
            while not self._ending:
                change = self._watch.next_change()
                news = {"message": self._watch.told(name), "cells": self._watch.cells(name)}
                for event, told in news.items():
                    if told != sent.get(event):
                        await stream.write(f"event: {event}\ndata: {json.dumps(told)}\n\n".encode())
                await stream.write(b": still here\n\n" if news == sent else b"")
                sent = news
                with suppress(TimeoutError):
                    await asyncio.wait_for(change.wait(), PING_S)
        return stream

    async def _summary(self, request: web.Request) -> web.StreamResponse:
        return _document(await self._watch.figures.summary(*self._named(request, "run")))

    async def _comparison(self, request: web.Request) -> web.StreamResponse:
        """Of the runs `a` and `b`; `of` and `with` name variants, `force` shows what is not comparable."""
        asked = {"of": request.query.get("of") or None, "with": request.query.get("with") or None,
                 "force": request.query.get("force") == "1"}
        a, b = self._named(request, "a"), self._named(request, "b")
        return _document(await self._watch.figures.comparison(a, b, asked))

    async def _record(self, request: web.Request) -> web.StreamResponse:
        """The raw record of a `cell` of `run`."""
        run, _ = self._named(request, "run")
        found = await asyncio.to_thread(run.record, request.query.get("cell", ""))
        if found is None:
            raise web.HTTPNotFound(reason="there is no such cell in the run's folder")
        return web.Response(body=found, content_type="application/json")

    def _named(self, request: web.Request, key: str) -> tuple[Run, State]:
        found = self._watch.run(request.query.get(key, ""))
        if found is None:
            raise web.HTTPNotFound(reason="there is no such run in the list")
        return found


def _document(made: Made) -> web.Response:
    return web.Response(body=made.body, status=200 if made.ok else 422, content_type="application/json",
                        headers={"ETag": f'"{made.version}"'})


def _refused(status: int, reason: str) -> web.Response:
    return web.json_response({"reason": reason}, status=status)


async def serve(folders: Sequence[Path], port: int, ready: Callable[[str], None]) -> None:
    """Serve until SIGINT or SIGTERM; `ready` is called with the address once the page can be opened."""
    end = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, end.set)
    async with Dashboard(folders, port) as dashboard:
        ready(dashboard.address)
        # A page that is not kept up to date any more is worse than none.
        ended = asyncio.create_task(end.wait())
        await asyncio.wait({ended, dashboard.looking}, return_when=asyncio.FIRST_COMPLETED)
        ended.cancel()
