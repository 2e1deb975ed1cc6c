"""The connection to Ray: the library if it is there, a cluster that runs, or a small one started on this machine."""

import importlib
import os
import signal
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from quantcheck.errors import EngineUnavailable, SpecError
from quantcheck.telemetry.environment import usable_threads

__all__ = ["connected", "library"]

OBJECT_STORE_BYTES = 100_000_000
"""Of a cluster that is started here: cells and small files of logits are all that goes through it."""


def library() -> Any:
    """The module `ray`. Raises `EngineUnavailable` with the way to install it."""
    # By name: the core must import without it, and it is in no list of the core's dependencies.
    try:
        return importlib.import_module("ray")
    except ImportError as error:
        raise EngineUnavailable("--on ray: Ray is not installed here; install it with "
                                "`pip install 'quantcheck[ray]'`, in the same version as on the cluster") from error

_TOKEN = ("one that asks for a token answers where RAY_AUTH_MODE=token is set, with the token in RAY_AUTH_TOKEN or in "
          "~/.ray/auth_token")


@contextmanager
def connected(on: str) -> Iterator[Any]:
    """Ray, connected to `ray` (a cluster that runs here, else one started here) or to `ray://HOST:PORT`.

    A connection that is there already is used and left. Raises `EngineUnavailable` without Ray, `SpecError` when there
    is no cluster at the address.
    """
    ray = library()
    if ray.is_initialized():
        yield ray
        return
    # Ray puts a handler of its own on SIGTERM, which exits at once; ours lets a run end its tasks.
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        _connect(ray, on)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        yield ray
    finally:
        ray.shutdown()


def _connect(ray: Any, on: str) -> None:
    quiet = {"log_to_driver": False, "logging_level": "ERROR"}
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # tells Ray how it will be; else it warns
    if on != "ray":
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # what it warns of, it raises, too
                ray.init(on, **quiet)
        except (ConnectionError, RuntimeError, ValueError, AssertionError, ray.exceptions.RayError) as error:
            raise SpecError(f"--on {on}: no Ray cluster answers there ({_first_line(error)}); "
                            f"{_remedy(error)}") from error
        return
    try:
        ray.init(address="auto", **quiet)
    except (ConnectionError, ray.exceptions.RayError) as error:
        if "RAY_ADDRESS" in os.environ or not isinstance(error, ConnectionError):
            where = os.environ.get("RAY_ADDRESS", "this machine")
            raise SpecError(f"--on ray: no Ray cluster answers at {where} ({_first_line(error)}); start it, or unset "
                            f"RAY_ADDRESS to start one here; {_TOKEN}") from error
        # Niceness: Ray's workers would stand behind every other program, and measurements with them.
        ray.init(address="local", num_cpus=usable_threads(), include_dashboard=False, _node_ip_address="127.0.0.1",
                 object_store_memory=OBJECT_STORE_BYTES, _system_config={"worker_niceness": 0}, **quiet)


def _remedy(error: BaseException) -> str:
    if "Initialization failure" in str(error):
        # gRPC's handlers of fork end the process that the client server forks for us.
        return ("its client server could not start a process for this run: start the head with "
                "GRPC_ENABLE_FORK_SUPPORT=0, or run there (`ray job submit -- quantcheck run ... --on ray`)")
    return f"start one with `ray start --head`, or give its address; {_TOKEN}"


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
