"""Writing in rounds: only what is open goes on, and nothing is asked for beyond the most tokens."""

from collections.abc import Sequence

import numpy as np

from quantcheck.engines.rounds import in_rounds
from quantcheck.engines.scorer import IntArray


class Server:
    """Writes `texts`, each from where the prompt has got to."""

    def __init__(self, *texts: str) -> None:
        self.texts = [text.encode() for text in texts]
        self.asked: list[tuple[list[int], int]] = []

    def write(self, prompts: Sequence[IntArray], tokens: int) -> list[IntArray]:
        self.asked.append(([int(prompt[0]) for prompt in prompts], tokens))
        return [np.array(list(self.texts[prompt[0]][len(prompt) - 1 :][:tokens]), dtype=np.int32)
                for prompt in prompts]


def texts(server: Server, max_tokens: int) -> list[str]:
    prompts = [np.array([place], dtype=np.int32) for place in range(len(server.texts))]
    found = in_rounds(server.write, prompts, max_tokens, lambda written: ord(".") in written)
    assert all(answer.dtype == np.int32 for answer in found)
    return [bytes(answer.tolist()).decode() for answer in found]


def test_only_what_is_open_goes_on() -> None:
    server = Server("a" * 42 + "." + "a" * 500, "b." + "b" * 500, "c" * 20)
    assert texts(server, 1000) == ["a" * 42 + "." + "a" * 117, "b." + "b" * 30, "c" * 20]
    assert server.asked == [([0, 1, 2], 32), ([0], 128)]


def test_the_last_round_is_as_long_as_what_is_left() -> None:
    server = Server("a" * 500)
    assert texts(server, 200) == ["a" * 200]
    assert server.asked == [([0], 32), ([0], 128), ([0], 40)]
    assert texts(Server("a" * 500), 10) == ["a" * 10]


def test_nothing_to_write() -> None:
    assert in_rounds(Server().write, [], 5, lambda written: True) == []
