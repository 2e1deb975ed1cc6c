"""Suites that are scored in parts: the same answers, figures and rows as in one go."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from quantcheck.engines.hf.scorer import batches
from quantcheck.engines.packing import fill
from quantcheck.quality import tasks
from quantcheck.quality.corpus import is_kept, piece_of
from quantcheck.quality.encoded import units
from quantcheck.quality.job import Job, main
from quantcheck.quality.parts import Part, Unit, figures, joined, pieces, shares, uncut
from quantcheck.quality.scorers import BatchShape, batch_starts, open_tokenizer
from quantcheck.quality.suites import load_suites
from quantcheck.spec.experiment import Quality, Sampling
from quantcheck.variants.artifact import Artifact

SHAPES: list[BatchShape] = [(None, 512), (None, 192)]
CORPORA = ("reference/stories", "reference/documentation")
SUITES = [*CORPORA, "reference/arithmetic", "reference/knowledge"]

lengths_of = st.lists(st.integers(1, 40), min_size=1, max_size=60)


@given(lengths_of, st.integers(1, 8), st.integers(1, 120), st.integers(0, 59))
def test_a_cut_leaves_all_batches_as_they_were(lengths: list[int], size: int, tokens: int, pick: int) -> None:
    cut = batch_starts(lengths, [(size, tokens), (None, 8 * size)])
    at = cut[pick % len(cut)]
    places = range(len(lengths))
    whole = list(batches(lengths, places, size, tokens))
    parts = [list(batches(lengths, some, size, tokens)) for some in (places[:at], places[at:])]
    assert whole == parts[0] + parts[1]
    items = [(place, length, 1) for place, length in enumerate(lengths)]
    packed = list(fill(items, 8 * size, size))
    assert packed == list(fill(items[:at], 8 * size, size)) + list(fill(items[at:], 8 * size, size))


@given(st.lists(lengths_of, min_size=1, max_size=5), st.integers(1, 9), st.integers(1, 7))
def test_shares_hold_every_unit_once_and_in_order(suites: list[list[int]], count: int, step: int) -> None:
    cut = [unit for number, work in enumerate(suites)
           for unit in pieces(str(number), range(0, len(work), step), work)]
    found = shares(cut, count)
    assert 1 <= len(found) <= count
    for number, work in enumerate(suites):
        spans = [share[str(number)] for share in found if str(number) in share]
        assert [place for begin, end in spans for place in range(begin, end)] == list(range(len(work)))
    # No share is more than one unit above its due.
    due = sum(map(sum, suites)) / count
    most = max(unit.work for unit in cut)
    for share in found:
        assert sum(sum(suites[int(name)][begin:end]) for name, (begin, end) in share.items()) <= due + most


def test_a_suite_that_is_wanted_whole_is_one_unit() -> None:
    cut = [*pieces("a", [0, 1, 2], [1, 2, 3]), *pieces("b", [0, 1], [4, 5])]
    assert uncut(cut, {"a"}) == [Unit("a", 0, 3, 6), *cut[3:]]


def test_parts_that_overlap_or_are_of_two_suites_are_not_joined() -> None:
    def part(begin: int, end: int, digest: str = "d") -> Part:
        return Part(begin, end, 4, {"kind": "task", "suite_sha256": digest}, {"right": np.ones(end - begin, bool)})

    assert joined([part(2, 4)]) is None
    whole = joined([part(2, 4), part(0, 2)])
    assert whole is not None
    assert figures(whole)[0] == {"kind": "task", "n": 4, "accuracy": 1.0, "suite_sha256": "d"}
    for wrong in ([part(0, 3), part(2, 4)], [part(0, 2), part(2, 4, "e")], [part(0, 2), part(0, 2)]):
        with pytest.raises(ValueError, match="not parts of one suite"):
            joined(wrong)


Scored = dict[str, tuple[dict[str, Any], dict[str, NDArray[Any]]]]
Role = Literal["baseline", "variant"]


def job(folder: Path, model: Path, quality: Quality, role: Role, logits: Path, **more: Any) -> list[dict[str, Any]]:
    folder.mkdir()
    work = Job.model_validate({
        "model": model, "quality": quality, "suites": list(more.get("spans") or [*quality.suites]), "role": role,
        "logits": {name: logits / f"{name.partition('/')[2]}.f32" for name in CORPORA}, "threads": 2,
        "batch_tokens": 512, "entry": role, **more})
    (folder / "job.json").write_text(work.model_dump_json(by_alias=True))
    assert main(folder) == 0
    events = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    return [event for event in events if "done" not in event]


def scored(folder: Path, events: Sequence[Mapping[str, Any]]) -> Scored:
    found = {}
    for number, event in enumerate(events):
        with np.load(folder / f"{number}.npz", allow_pickle=False) as arrays:
            found[event["suite"]] = event["result"], dict(arrays)
    return found


@pytest.mark.parametrize(("divergence", "sampling"), [("full", None), ("top-k", Sampling(draws=2, temperature=0.7))])
def test_parts_make_the_same_cell_bit_for_bit(
    divergence: Literal["full", "top-k"], sampling: Sampling | None, ladder: Mapping[str, Artifact], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Small calls, so that few items make several; the reference model's own windows are full batches.
    for module in ("quantcheck.quality.job", "quantcheck.quality.encoded"):
        monkeypatch.setattr(f"{module}.CHUNK", 12)
    assert tasks.CHUNK > 12
    quality = Quality(suites=SUITES, items=30, tokens=1600, divergence=divergence, sampling=sampling)
    (whole_logits := tmp_path / "whole").mkdir()
    (pieces_there := tmp_path / "pieces").mkdir()
    whole: dict[Role, Scored] = {}
    for role, name in (("baseline", "F16"), ("variant", "Q2_K")):
        folder = tmp_path / f"whole-{name}"
        whole[role] = scored(folder, job(folder, ladder[name].path, quality, role, whole_logits))  # type: ignore[index, arg-type]

    (told,) = job(tmp_path / "cut", ladder["F16"].path, quality, "baseline", whole_logits, cut_for=SHAPES)
    cut = [Unit(*unit) for unit in told["units"]]
    with open_tokenizer(ladder["F16"].path) as words:
        assert cut == units(load_suites(quality), quality, words, SHAPES)
    dealt = shares(cut, 4)
    assert len(dealt) == 4
    assert max(sum(name in share for share in dealt) for name in SUITES) > 1
    # The variant's shares find the baseline's logits whole, or those of their own spans alone.
    for logits in (whole_logits, pieces_there):
        parts: dict[str, list[Part]] = {}
        for number, spans in enumerate(dealt):
            if logits is pieces_there and (corpora := {name: spans[name] for name in CORPORA if name in spans}):
                job(tmp_path / f"again-{number}", ladder["F16"].path, quality, "baseline", logits, spans=corpora)
            folder = tmp_path / f"{logits.name}-{number}"
            for place, event in enumerate(job(folder, ladder["Q2_K"].path, quality, "variant", logits, spans=spans)):
                part = Part.unpacked((folder / f"{place}.npz").read_bytes())
                assert [part.begin, part.end, part.of] == event["part"]
                parts.setdefault(event["suite"], []).append(part)
        for name, found in parts.items():
            together = joined(reversed(found))
            assert together is not None
            result, table = figures(together)
            expected, rows = whole["variant"][name]
            expected = {key: value for key, value in expected.items() if key != "seconds"}
            assert result == expected, name
            assert list(result) == list(expected), name
            assert table.keys() == rows.keys()
            for column in rows:
                np.testing.assert_array_equal(table[column], rows[column], err_msg=f"{name} {column}")
        assert parts.keys() == set(SUITES)
    assert any(is_kept(piece_of(pieces_there / f"{name.partition('/')[2]}.f32", share[name]))
               for share in dealt for name in CORPORA if name in share), "no corpus was cut"
