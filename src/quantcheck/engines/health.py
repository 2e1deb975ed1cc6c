"""Short questions to an engine's HTTP server: health and metrics. Not for measuring."""

import http.client
import urllib.error
import urllib.request

__all__ = ["get_text"]


def get_text(url: str, timeout_s: float = 2.0) -> str | None:
    """The body of a 200 answer, or None when there is none (refused, another status, too slow)."""
    # A proxy from the environment must not stand between us and a loopback engine.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=timeout_s) as answer:
            body: bytes = answer.read()
            return body.decode("utf-8", "replace") if answer.status == 200 else None
    except (urllib.error.URLError, http.client.HTTPException, OSError):
        return None
