"""Schedules: the same measured prompts whatever the load, in the right order, at the right times."""

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from quantcheck.engines.base import Endpoint
from quantcheck.errors import SpecError
from quantcheck.load.build import build_schedule
from quantcheck.load.prompts import PromptSource, load_tokenizer, prompts_sha256
from quantcheck.load.schedule import MEASURED, TAIL, WARMUP, Schedule
from quantcheck.spec.load import Arrival, Lognormal, Uniform, Workload

COMPLETIONS = Endpoint("http://127.0.0.1:1", "m", "completions")
CHAT = Endpoint("http://127.0.0.1:1", "m", "chat")
LLAMA = Endpoint("http://127.0.0.1:1", "m", "llama-server")
PLAIN = Workload(prompt_tokens=12, output_tokens=10)
MODEL = Path(str(files("quantcheck.reference"))) / "model"


def build(workload: Workload = PLAIN, endpoint: Endpoint = COMPLETIONS, **more: Any) -> Schedule:
    wanted: dict[str, Any] = {"seed": 5, "requests": 9, "warmup_requests": 2, "vocab_size": 4096}
    return build_schedule(endpoint, workload, **wanted | more)


def prompts(schedule: Schedule, phase: int | None = None) -> list[Any]:
    bodies = [json.loads(body) for body in schedule.bodies]
    found = [body.get("prompt", body.get("messages")) for body in bodies]
    return [p for p, at in zip(found, schedule.phase, strict=True) if phase is None or at == phase]


def same(a: Schedule, b: Schedule) -> bool:
    fields = ("phase", "stream", "prompt_tokens", "output_tokens", "due_ns")
    return a.bodies == b.bodies and a.sha256 == b.sha256 and all(
        np.array_equal(getattr(a, name), getattr(b, name)) for name in fields)


def test_a_closed_loop() -> None:
    schedule = build(concurrency=4)
    assert schedule.phase.tolist() == [WARMUP] * 8 + [MEASURED] * 9 + [TAIL] * 8
    assert schedule.stream.tolist() == [0, 0, 1, 1, 2, 2, 3, 3] + [-1] * 17
    # the first answers are spread over an answer's course: 10/4, 20/4, 30/4 and all of it
    assert schedule.output_tokens.tolist() == [2, 10, 5, 10, 8, 10, 10, 10] + [10] * 17
    assert schedule.due_ns is None
    assert schedule.forced
    assert set(schedule.prompt_tokens.tolist()) == {12}
    source = PromptSource(5, 4096)
    expected = [source.draw(12) for _ in range(25)]  # measured first, then warm-up, then tail
    assert prompts(schedule) == [ids.tolist() for ids in expected[9:17] + expected[:9] + expected[17:]]
    assert schedule.sha256 == prompts_sha256(expected[:9])
    for body, output_tokens in zip(schedule.bodies, schedule.output_tokens, strict=True):
        assert json.loads(body)["max_tokens"] == output_tokens


def test_the_tail_is_half_the_requests_or_twice_the_streams() -> None:
    assert [int((build(requests=n, concurrency=c).phase == TAIL).sum()) for n, c in ((9, 1), (8, 8), (9, 8))] \
        == [5, 16, 16]
    assert [int((build(requests=n, rate=5.0).phase == TAIL).sum()) for n in (9, 17)] == [8, 9]


def test_an_open_loop_is_one_process() -> None:
    schedule = build(requests=2000, warmup_requests=40, rate=200.0)
    assert schedule.phase.tolist() == [WARMUP] * 40 + [MEASURED] * 2000 + [TAIL] * 1000
    assert set(schedule.stream.tolist()) == {-1}
    due = schedule.due_ns
    assert due is not None
    gaps = np.diff(due, prepend=0) / 1e9
    assert (gaps >= 0).all()
    assert stats.kstest(gaps, stats.expon(scale=1 / 200).cdf).pvalue > 0.005
    even = build(requests=20, rate=10.0, arrival=Arrival(process="constant")).due_ns
    assert even is not None
    assert even.tolist() == [100_000_000 * (k + 1) for k in range(32)]


WORKLOADS = [
    PLAIN,
    Workload(prompt_tokens=Uniform(min=2, max=90), output_tokens=Lognormal(median=20, sigma=1, max=100)),
    Workload(prompt_tokens=Lognormal(median=20, sigma=1, min=2, max=100), output_tokens=Uniform(min=1, max=9),
             free=True),
    Workload(prompt_tokens=40, output_tokens=8, shared_prefix=0.5),
]


@pytest.mark.parametrize("workload", WORKLOADS)
@pytest.mark.parametrize("form", ["ids", "text"])
def test_measured_prompts_do_not_depend_on_the_load(workload: Workload, form: str) -> None:
    loads: list[dict[str, Any]] = [
        {"concurrency": 1, "warmup_requests": 0}, {"concurrency": 9, "warmup_requests": 3},
        {"rate": 3.0, "warmup_requests": 0}, {"rate": 80.0, "warmup_requests": 11},
    ]
    found = [build(workload, prompt_form=form, tokenizer=MODEL, **load) for load in loads]
    assert len({schedule.sha256 for schedule in found}) == 1
    for schedule in found:
        assert prompts(schedule, MEASURED) == prompts(found[0], MEASURED)
        measured = schedule.phase == MEASURED
        assert schedule.output_tokens[measured].tolist() == found[0].output_tokens[found[0].phase == MEASURED].tolist()
        assert schedule.forced is not workload.free
    other = build(workload, prompt_form=form, tokenizer=MODEL, seed=6, concurrency=1)
    assert other.sha256 != found[0].sha256


def test_the_variants_name_is_not_in_the_hash() -> None:
    other = Endpoint("http://127.0.0.1:2", "another", "completions")
    assert build(concurrency=1).sha256 == build(endpoint=other, concurrency=1).sha256
    assert build(concurrency=1).sha256 == build(endpoint=LLAMA, concurrency=1).sha256


@settings(max_examples=60, deadline=None)
@given(
    data=st.data(), requests=st.integers(1, 40), warmup=st.integers(0, 4), seed=st.integers(0, 2**64 - 1),
    workload=st.sampled_from([
        PLAIN,
        Workload(prompt_tokens=Uniform(min=4, max=60), output_tokens=Lognormal(median=5, sigma=2, max=50)),
        Workload(prompt_tokens=30, output_tokens=Uniform(min=1, max=3), shared_prefix=0.7),
    ]),
)
def test_any_schedule(data: st.DataObject, requests: int, warmup: int, seed: int, workload: Workload) -> None:
    closed = data.draw(st.booleans())
    load: dict[str, Any] = ({"concurrency": data.draw(st.integers(1, requests))} if closed
                            else {"rate": data.draw(st.floats(0.1, 1000))})
    endpoint = data.draw(st.sampled_from([COMPLETIONS, LLAMA]))
    schedule = build(workload, endpoint, requests=requests, warmup_requests=warmup, seed=seed, **load)
    count = len(schedule)
    assert [len(column) for column in (schedule.phase, schedule.stream, schedule.prompt_tokens,
                                       schedule.output_tokens)] == [count] * 4
    assert (np.diff(schedule.phase) >= 0).all()
    assert (schedule.phase == MEASURED).sum() == requests
    assert (schedule.phase == WARMUP).sum() == warmup * load.get("concurrency", 1)
    assert (schedule.phase == TAIL).sum() >= requests / 2
    found = prompts(schedule)
    assert [len(ids) for ids in found] == schedule.prompt_tokens.tolist()
    assert len({tuple(ids) for ids in found}) == count  # no phase has a prompt of another
    assert (schedule.output_tokens >= 1).all()
    assert (schedule.stream >= 0).tolist() == (closed & (schedule.phase == WARMUP)).tolist()
    assert (schedule.due_ns is None) == closed
    if schedule.due_ns is not None:
        assert schedule.due_ns.dtype == np.int64
        assert (np.diff(schedule.due_ns, prepend=0) >= 0).all()
    assert same(schedule, build(workload, endpoint, requests=requests, warmup_requests=warmup, seed=seed, **load))


def test_text_with_a_tokenizer_has_its_exact_length() -> None:
    tokenizer = load_tokenizer(MODEL)
    workload = Workload(prompt_tokens=Uniform(min=5, max=50), output_tokens=4)
    schedule = build(workload, prompt_form="text", tokenizer=MODEL, vocab_size=None, concurrency=2)
    assert [len(tokenizer.encode(text).ids) for text in prompts(schedule)] == schedule.prompt_tokens.tolist()


def test_text_of_unknown_length_says_so() -> None:
    schedule = build(prompt_form="text", vocab_size=None, concurrency=2)
    assert set(schedule.prompt_tokens.tolist()) == {0}
    assert {len(text.split(" ")) for text in prompts(schedule)} == {12}
    chat = build(endpoint=CHAT, prompt_form="text", tokenizer=MODEL, concurrency=2)  # a template adds more
    assert set(chat.prompt_tokens.tolist()) == {0}
    assert {(len(messages), messages[0]["role"]) for messages in prompts(chat)} == {(1, "user")}


def test_a_vocabulary_by_its_tokenizer() -> None:
    assert build(vocab_size=None, tokenizer=MODEL, concurrency=1).sha256 == build(vocab_size=4096, concurrency=1).sha256


def test_repeated_prompts_keep_their_lengths() -> None:
    workload = Workload(prompt_tokens=Uniform(min=5, max=50), output_tokens=4)
    for form in ("ids", "text"):
        schedule = build(workload, repeat=4, rate=9.0, prompt_form=form, tokenizer=MODEL)
        measured = prompts(schedule, MEASURED)
        assert measured == [measured[place % 4] for place in range(9)]
        assert len({str(prompt) for prompt in prompts(schedule)}) == 4
        length = len if form == "ids" else lambda text: len(load_tokenizer(MODEL).encode(text).ids)
        assert [length(prompt) for prompt in prompts(schedule)] == schedule.prompt_tokens.tolist()


def test_streaming_sampling_and_freedom_reach_the_body() -> None:
    free = Workload(prompt_tokens=3, output_tokens=4, free=True)
    body = json.loads(build(free, concurrency=1, stream=False, sampling={"temperature": 0.7}).bodies[0])
    assert (body["stream"], body["temperature"], "ignore_eos" in body) == (False, 0.7, False)
    assert json.loads(build(concurrency=1).bodies[0])["ignore_eos"] is True
    assert "ignore_eos" not in json.loads(build(concurrency=1, plain=True).bodies[0])


def write_trace(folder: Path) -> Path:
    path = folder / "trace.csv"
    rows = "".join(f"{at},{20 + place},{3 + place}\n" for place, at in enumerate((5, 6, 6.5, 9, 13)))
    path.write_text("time,input_tokens,output_tokens\n" + rows)
    return path


def test_a_trace_is_replayed_whole_and_in_order(tmp_path: Path) -> None:
    workload = Workload(trace=str(write_trace(tmp_path)))
    schedule = build(workload)
    assert schedule.phase.tolist() == [WARMUP] * 2 + [MEASURED] * 5
    assert schedule.due_ns is not None
    assert (schedule.due_ns / 1e9).tolist() == [0, 2, 4, 5, 5.5, 8, 12]  # warm-up at the mean gap of 2 s
    assert schedule.prompt_tokens[2:].tolist() == [20, 21, 22, 23, 24]
    assert schedule.output_tokens[2:].tolist() == [3, 4, 5, 6, 7]
    assert [len(ids) for ids in prompts(schedule)] == schedule.prompt_tokens.tolist()
    short = build(workload, requests=3, warmup_requests=0)
    assert short.due_ns is not None
    assert (short.due_ns / 1e9).tolist() == [0, 1, 1.5]
    assert prompts(short) == prompts(schedule, MEASURED)[:3]
    fast = build(Workload(trace=workload.trace, time_scale=2)).due_ns
    assert fast is not None
    assert (fast * 2).tolist() == schedule.due_ns.tolist()


def test_a_traces_lengths_under_another_load(tmp_path: Path) -> None:
    workload = Workload(trace=str(write_trace(tmp_path)))
    replayed, closed, opened = build(workload), build(workload, concurrency=2), build(workload, rate=7.0)
    assert len({schedule.sha256 for schedule in (replayed, closed, opened)}) == 1
    assert closed.due_ns is None
    assert closed.phase.tolist() == [WARMUP] * 4 + [MEASURED] * 5 + [TAIL] * 4
    assert closed.prompt_tokens.tolist() == [20, 21, 22, 23, 20, 21, 22, 23, 24, 24, 20, 21, 22]
    assert opened.due_ns is not None
    assert opened.phase.tolist() == [WARMUP] * 2 + [MEASURED] * 5 + [TAIL] * 8


def test_a_trace_of_one_request(tmp_path: Path) -> None:
    path = tmp_path / "one.csv"
    path.write_text("time,input_tokens,output_tokens\n9,1,1\n")
    schedule = build(Workload(trace=str(path)))
    assert schedule.due_ns is not None
    assert schedule.due_ns.tolist() == [0, 0, 0]


def write_prompts(folder: Path, count: int, chat: bool = False) -> Workload:
    path = folder / "prompts.jsonl"
    lines: list[dict[str, Any]] = [
        {"messages": [{"role": "user", "content": f"prompt {k}"}]} if chat else {"prompt": f"prompt {k}"}
        for k in range(count)]
    lines[0]["output_tokens"] = 99
    path.write_text("\n".join(map(json.dumps, lines)))
    return Workload(prompts=str(path), output_tokens=4)


def test_a_users_prompts_come_once_in_a_seeded_order(tmp_path: Path) -> None:
    workload = write_prompts(tmp_path, 40)
    schedule, other = build(workload, concurrency=2), build(workload, rate=2.0, warmup_requests=0)
    assert len(set(prompts(schedule))) == len(schedule)
    assert prompts(schedule, MEASURED) == prompts(other, MEASURED)
    assert schedule.sha256 == other.sha256 != build(workload, concurrency=2, seed=6).sha256
    assert set(schedule.prompt_tokens.tolist()) == {0}
    counted = build(workload, concurrency=2, tokenizer=MODEL)
    tokenizer = load_tokenizer(MODEL)
    assert counted.prompt_tokens.tolist() == [len(tokenizer.encode(text).ids) for text in prompts(counted)]
    assert [message for [message] in prompts(build(workload, CHAT, concurrency=2))] == [
        {"role": "user", "content": text} for text in prompts(schedule)]


def test_a_users_own_answer_lengths_and_repeats(tmp_path: Path) -> None:
    workload = write_prompts(tmp_path, 3, chat=True)
    schedule = build(workload, CHAT, rate=2.0, repeat=3)
    lengths = {prompt[0]["content"]: wanted
               for prompt, wanted in zip(prompts(schedule), schedule.output_tokens.tolist(), strict=True)}
    assert lengths == {"prompt 0": 99, "prompt 1": 4, "prompt 2": 4}


def test_prompts_that_run_out(tmp_path: Path) -> None:
    workload = write_prompts(tmp_path, 18)
    with pytest.raises(SpecError, match=r"prompts\.jsonl: 18 prompts, and 19 are needed, each once"):
        build(workload, rate=1.0)
    with pytest.raises(SpecError, match="18 prompts, and 19 are needed"):
        build(workload, rate=1.0, repeat=19)
    assert len(build(workload, rate=1.0, repeat=18)) == 19


def test_messages_need_a_chat_endpoint(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"prompts\.jsonl: `messages` need a chat endpoint"):
        build(write_prompts(tmp_path, 40, chat=True), concurrency=1)


@pytest.mark.parametrize(("more", "message"), [
    ({}, "no load: give a concurrency"),
    ({"concurrency": 2, "rate": 3.0}, "concurrency: 2 and rate: 3 exclude each other"),
    ({"concurrency": 10}, "requests: 9 is below the concurrency of 10; give at least as many"),
    ({"concurrency": 1, "requests": 0}, "requests: 0 cannot be measured"),
    ({"concurrency": 1, "vocab_size": None}, "need the size of the vocabulary; give a tokenizer, or ask for text"),
    ({"concurrency": 1, "endpoint": CHAT}, "a chat endpoint takes no token ids; ask for text"),
    ({"concurrency": 1, "repeat": 0}, "repeat: 0 prompts are none"),
    ({"rate": 0.0}, "rate: 0 requests/s cannot be sent"),
    ({"concurrency": 1, "tokenizer": Path("nowhere")}, "tokenizer nowhere: there is no such file"),
    ({"workload": Workload(trace="nowhere.csv")}, "trace nowhere.csv: cannot be read"),
    ({"workload": Workload(prompts="nowhere.jsonl", output_tokens=1), "rate": 1.0}, "prompts nowhere.jsonl: cannot be"),
])
def test_mistakes(more: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError) as error:
        build(**more)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
