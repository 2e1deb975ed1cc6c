"""URLs taken apart; proxies from the environment."""

import socket
from typing import Any

import pytest

from quantcheck.errors import SpecError
from quantcheck.load.target import target_of
from tests.load.scripted import FINE, Server, answering

FAR = "203.0.113.7"  # of RFC 5737, nobody's


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "no_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.mark.parametrize(
    ("url", "address", "port", "host", "path"),
    [("http://127.0.0.1:8000", "127.0.0.1", 8000, "127.0.0.1:8000", ""),
     ("http://127.0.0.1:8000/", "127.0.0.1", 8000, "127.0.0.1:8000", ""),
     ("http://127.0.0.1:8000/v1/", "127.0.0.1", 8000, "127.0.0.1:8000", "/v1"),
     ("127.0.0.1:8000/v1", "127.0.0.1", 8000, "127.0.0.1:8000", "/v1"),
     ("http://127.0.0.1/a%20b", "127.0.0.1", 80, "127.0.0.1", "/a%20b"),
     ("HTTP://127.0.0.1:5", "127.0.0.1", 5, "127.0.0.1:5", ""),
     ("http://[::1]:8000/v1", "::1", 8000, "[::1]:8000", "/v1"), ("http://[::1]", "::1", 80, "[::1]", "")],
)
def test_plain(url: str, address: str, port: int, host: str, path: str) -> None:
    target = target_of(url)
    assert (target.address, target.port, target.host, target.path) == (address, port, host, path)
    assert (target.url, target.secure, target.proxy, target.plain) == (url, False, None, True)


def test_https() -> None:
    target = target_of("https://127.0.0.1/v1")
    assert (target.port, target.secure, target.plain) == (443, True, False)
    assert target_of("https://127.0.0.1:8443").port == 8443


@pytest.mark.parametrize(
    ("url", "message"),
    [("", "not an http or https URL"), ("http://", "not an http or https URL"), ("//host", "not an http or https URL"),
     ("ftp://127.0.0.1", "not an http or https URL"), ("http://127.0.0.1:99999", "Port out of range"),
     ("http://127.0.0.1:x", "Port could not be"), ("http://[::1", "Invalid IPv6 URL"),
     ("http://nowhere.invalid:8000", "host 'nowhere.invalid' is not known"),
     (f"http://{'a' * 70}.example", "is not known"), ("http://a..example", "is not known"),
     ("http://127.0.0.1/a b", "percent-encoded"), ("http://127.0.0.1/é", "percent-encoded"),
     ("http://127.0.0.1/a\r\nX: y", "percent-encoded"), ("http://127.0.0.1/?version=1", "would not be sent")],
)
def test_each_mistake_is_one_line(url: str, message: str) -> None:
    with pytest.raises(SpecError, match=message) as error:
        target_of(url)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 250


def test_a_password_is_not_told() -> None:
    with pytest.raises(SpecError, match="has a user or password") as error:
        target_of("http://me:secret@127.0.0.1:8000")
    assert "secret" not in str(error.value)


def test_of_several_addresses_the_one_that_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    with Server(answering(FINE)) as server:
        def both(host: str, port: int, **_: Any) -> list[Any]:
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in
                    ("127.1.2.3", "127.0.0.1")]

        monkeypatch.setattr(socket, "getaddrinfo", both)
        monkeypatch.setattr(socket, "create_connection", lambda place, timeout: _connect(place))
        assert target_of(f"http://localhost:{server.port}").address == "127.0.0.1"
        assert target_of("http://localhost:9").address == "127.1.2.3"  # none does: the first


def _connect(place: tuple[str, int]) -> socket.socket:
    sock = socket.socket()
    try:
        sock.connect(place)
    except OSError:
        sock.close()
        raise
    return sock


# -- proxies ---------------------------------------------------------------------------------------------------


def test_a_proxy_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://proxy.example:3128")
    target = target_of(f"http://{FAR}:8000")
    assert (target.proxy, target.plain, target.secure) == ("http://proxy.example:3128", False, False)
    assert target_of(f"https://{FAR}").proxy is None  # it has a variable of its own
    monkeypatch.setenv("https_proxy", "proxy.example:3129")
    assert target_of(f"https://{FAR}").proxy == "http://proxy.example:3129"


@pytest.mark.parametrize("url", ["http://127.0.0.1:8000", "http://127.8.9.1:8000", "http://[::1]:8000",
                                 "http://localhost:8000", "https://127.0.0.1"])
def test_this_machine_is_never_reached_by_a_proxy(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://proxy.example:3128")
    assert target_of(url).proxy is None


@pytest.mark.parametrize("exception", [FAR, "*", f"other.example,{FAR}"])
def test_no_proxy(monkeypatch: pytest.MonkeyPatch, exception: str) -> None:
    monkeypatch.setenv("http_proxy", "http://proxy.example:3128")
    monkeypatch.setenv("no_proxy", exception)
    assert target_of(f"http://{FAR}:8000").plain


def test_an_empty_variable_is_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "")
    assert target_of(f"http://{FAR}").plain


def test_a_host_that_only_the_proxy_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:3128")
    target = target_of("http://inner.invalid:8000/v1")
    assert (target.proxy, target.host, target.plain) == ("http://127.0.0.1:3128", "inner.invalid:8000", False)
    monkeypatch.setenv("no_proxy", "inner.invalid")
    with pytest.raises(SpecError, match="is not known"):
        target_of("http://inner.invalid:8000/v1")
