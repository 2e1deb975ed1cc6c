"""What steps on other nodes tell the driver: progress and whole cells, in the order in which each was sent."""

from collections.abc import Mapping
from typing import Any

__all__ = ["Event", "Mailbox", "open_mailbox"]

Event = tuple[str, tuple[Any, ...]]
"""What kind, and its values: a method of Progress with its arguments; `cell` with the key's id and the files; `part`
with the key's id, the part and the record; `portion`, a share's `step`: entry, subject, where the share begins, done
and of; `logs` with files by name, and whether they are added to what is there.
"""


class Mailbox:
    """An actor. Steps put, the driver takes."""

    def __init__(self) -> None:
        self._events: list[Event] = []

    def put(self, event: Event) -> None:
        self._events.append(event)

    def take(self) -> list[Event]:
        """All that came since the last time."""
        events, self._events = self._events, []
        return events


def open_mailbox(ray: Any, resources: Mapping[str, float]) -> Any:
    """A mailbox on the head node: a cluster without it has ended anyway. Not in the driver, which may be outside."""
    on_head = "node:__internal_head__"
    where = {on_head: 0.001} if on_head in resources else {}
    return ray.remote(num_cpus=0, max_restarts=0, resources=where)(Mailbox).remote()
