"""Where a load goes: a URL taken apart, its name looked up, and whether the plain client can go there."""

import socket
import urllib.request
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import urlsplit

from quantcheck.errors import SpecError

__all__ = ["Target", "target_of"]

TRY_S = 1.0


@dataclass(frozen=True, slots=True)
class Target:
    """`address`: what is connected to; `host`: the value of the Host header; `path`: of the URL, without a slash at its
    end. `secure` or `proxy`: the library client is needed."""

    url: str
    address: str
    port: int
    host: str
    path: str
    secure: bool
    proxy: str | None

    @property
    def plain(self) -> bool:
        """Whether our own client can go there: HTTP, no proxy."""
        return not self.secure and self.proxy is None


def target_of(url: str) -> Target:
    """Takes `url` (http or https) apart. Raises `SpecError` for what is no such URL, or a host that is not known.

    Of several addresses (localhost is often both ::1 and 127.0.0.1) the first that can be connected to is taken. A host
    that only the proxy knows is left to it.
    """
    try:
        parts = urlsplit(url if "//" in url else f"http://{url}")
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError as error:
        raise SpecError(f"{url}: {error}; give a URL such as http://127.0.0.1:8000/v1") from error
    if parts.username is not None:
        raise SpecError(f"the URL of {parts.hostname} has a user or password in it, which is not sent; leave it out, "
                        "and put an API key into an environment variable")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise SpecError(f"{url}: is not an http or https URL; give one such as http://127.0.0.1:8000/v1")
    if not url.isascii() or not url.isprintable() or " " in url:
        raise SpecError(f"{url!r}: has a character that no URL may have; write it percent-encoded")
    if parts.query:
        raise SpecError(f"{url}: the part from '?' on would not be sent; leave it out")
    secure = parts.scheme == "https"
    try:
        found = socket.getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        if (proxy := _proxy(parts.scheme, parts.hostname, None)) is None:
            reason = error.strerror if isinstance(error, OSError) else "its name is too long, or has an empty part"
            raise SpecError(f"{url}: host {parts.hostname!r} is not known ({reason}); check its name") from error
        address = parts.hostname
    else:
        addresses = list(dict.fromkeys(str(place[0]) for *_, place in found))
        proxy = _proxy(parts.scheme, parts.hostname, addresses[0])
        address = addresses[0] if secure or proxy is not None else _answering(addresses, port)
    return Target(url, address, port, parts.netloc, parts.path.rstrip("/"), secure, proxy)


def _answering(addresses: list[str], port: int) -> str:
    """The first address that takes a connection; the first of all when none does."""
    for address in addresses if len(addresses) > 1 else ():
        with suppress(OSError), socket.create_connection((address, port), timeout=TRY_S):
            return address
    return addresses[0]


def _proxy(scheme: str, host: str, address: str | None) -> str | None:
    """The proxy that the environment names for this host; none ever stands between us and this machine itself."""
    here = address is not None and ip_address(address.partition("%")[0]).is_loopback
    if here or urllib.request.proxy_bypass(host):
        return None
    found = urllib.request.getproxies().get(scheme)
    return f"http://{found}" if found and "//" not in found else found or None
