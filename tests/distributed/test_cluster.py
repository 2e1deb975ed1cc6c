"""The connection to Ray, with a stand-in for the library."""

import sys
from types import SimpleNamespace
from typing import Any

import pytest

from quantcheck.distributed.cluster import connected, library
from quantcheck.errors import EngineUnavailable, SpecError


class RayError(Exception):
    pass


def test_without_ray_it_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(EngineUnavailable, match=r"quantcheck\[ray\]") as raised:
        library()
    assert "\n" not in str(raised.value)


def stand_in(
    monkeypatch: pytest.MonkeyPatch, *, there: bool, wrong: Exception | None = None
) -> list[dict[str, Any]]:
    """A library in which no cluster answers, or answers what is `wrong`; the calls of `init` and `shutdown`."""
    calls: list[dict[str, Any]] = []

    def init(address: str | None = None, **others: Any) -> None:
        calls.append({"address": address, **others})
        if address != "local" and not there:
            raise wrong or ConnectionError("no answer\nand more")

    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(
        init=init, is_initialized=lambda: False, shutdown=lambda: calls.append({"address": "shutdown"}),
        exceptions=SimpleNamespace(RayError=RayError)))
    return calls


def test_a_cluster_that_does_not_answer_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch, there=False)
    with pytest.raises(SpecError, match="no Ray cluster answers there") as raised, connected("ray://127.0.0.1:9"):
        pass
    assert "\n" not in str(raised.value)
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:9")
    with pytest.raises(SpecError, match="127.0.0.1:9.*unset RAY_ADDRESS"), connected("ray"):
        pass


def test_a_cluster_that_asks_for_a_token_is_one_line_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch, there=False, wrong=RayError("InvalidAuthToken: it is missing"))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    for on in ("ray", "ray://127.0.0.1:9"):
        with pytest.raises(SpecError, match="RAY_AUTH_MODE=token") as raised, connected(on):
            pass
        assert "InvalidAuthToken" in str(raised.value)
        assert "\n" not in str(raised.value)


def test_a_client_server_that_cannot_fork_is_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch, there=False, wrong=ConnectionAbortedError("Initialization failure from server:\nTraceback"))
    with pytest.raises(SpecError, match="GRPC_ENABLE_FORK_SUPPORT=0.*ray job submit") as raised, \
            connected("ray://127.0.0.1:9"):
        pass
    assert "\n" not in str(raised.value)


def test_without_a_cluster_a_small_one_is_started_here_and_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    calls = stand_in(monkeypatch, there=False)
    with connected("ray"):
        pass
    assert [call["address"] for call in calls] == ["auto", "local", "shutdown"]
    started = calls[1]
    assert started["include_dashboard"] is False
    assert started["object_store_memory"] <= 100_000_000
    assert started["_node_ip_address"] == "127.0.0.1"
