"""The report's page, told that it is live; and what a browser may do with it."""

import base64
import re
from hashlib import sha256

from quantcheck.report.html import PLACE, template

__all__ = ["LIVE", "live_page", "policy"]

LIVE = '<script type="application/json" id="live">{}</script>'
"""The mark by which the page knows that a server stands behind it; report.html has none and asks for nothing."""


def live_page() -> str:
    """The template with the mark, and without a run."""
    before, place, after = template().partition(PLACE)
    return f"{before}{LIVE}{place}{after}"


def policy(page: str) -> str:
    """The Content-Security-Policy for `page`: its own scripts by their hashes, its own server, and nothing else."""
    scripts = re.findall(r"<script(?![^>]*json)[^>]*>(.*?)</script>", page, re.DOTALL)
    hashes = [f"'sha256-{base64.b64encode(sha256(script.encode()).digest()).decode()}'" for script in scripts]
    rules = {
        "default-src": "'none'", "script-src": " ".join(dict.fromkeys(hashes)), "style-src": "'unsafe-inline'",
        "connect-src": "'self'", "img-src": "data:", "base-uri": "'none'", "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    return "; ".join(f"{what} {allowed}" for what, allowed in rules.items())
