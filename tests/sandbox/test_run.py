"""One program at a time: what it sees, and the word for how it ended."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quantcheck.sandbox import Limits, Program, run

pytestmark = pytest.mark.usefixtures("sandbox")


def test_it_reads_stdin_and_writes_stdout() -> None:
    outcome = run(Program("a, b = map(int, input().split())\nprint(a + b)", "3 4\n"))
    assert (outcome.ending, outcome.exit_code, outcome.stdout, outcome.stderr) == ("passed", 0, "7\n", "")
    assert outcome.detail == ""


def test_an_exception_shows_the_program_alone() -> None:
    outcome = run(Program("def f(x):\n    return 1 / x\n\nf(0)\n"))
    assert (outcome.ending, outcome.exit_code) == ("failed", 1)
    assert outcome.detail == "ZeroDivisionError: division by zero"
    assert outcome.stderr.startswith('Traceback (most recent call last):\n  File "/program.py", line 4, in <module>')
    assert "start.py" not in outcome.stderr


@pytest.mark.parametrize(("source", "exit_code", "detail"), [
    ("assert 1 == 2", 1, "AssertionError"),
    ("def f(:", 1, "SyntaxError: invalid syntax"),
    ("raise SystemExit('no')", 1, "no"),
    ("raise KeyboardInterrupt", 1, "KeyboardInterrupt"),
    ("exit(7)", 7, "exit code 7"),
    ("quit()", 0, "ended itself before its last line"),
    ("import os\nos._exit(0)\nassert False", 0, "ended itself before its last line"),
    ("import os\nif os.fork(): os._exit(0)", 0, "ended itself before its last line"),
    ("import atexit, os\natexit.register(os._exit, 3)", 3, "exit code 3"),
    ("import ctypes\nctypes.string_at(0)", 139, "killed by SIGSEGV"),
    ("import numpy", 1, "ModuleNotFoundError: No module named 'numpy'"),
    ("input()", 1, "EOFError: EOF when reading a line"),
    ("print('\ud800')", 1, "SyntaxError: "),
    ("a\0b", 1, ""),
    ("def f(): return f()\nf()", 1, "RecursionError: maximum recursion depth exceeded"),
])
def test_what_fails(source: str, exit_code: int, detail: str) -> None:
    outcome = run(Program(source))
    assert (outcome.ending, outcome.exit_code) == ("failed", exit_code)
    assert outcome.detail.startswith(detail)


def test_memory_that_ran_out_and_was_caught_is_the_programs_affair() -> None:
    source = "try: x = bytes(1 << 40)\nexcept MemoryError: pass"
    assert run(Program(source)).ending == "passed"


def test_a_thread_that_never_ends_is_waited_for() -> None:
    source = "import threading\nthreading.Thread(target=threading.Event().wait).start()"
    assert run(Program(source), Limits(wall_s=1.0)).ending == "timeout"


def test_the_standard_library_works() -> None:
    source = "import asyncio, ctypes, decimal, hashlib, lzma, multiprocessing, sqlite3, subprocess, threading, zlib\n" \
        "thread = threading.Thread(target=print, args=(1,)); thread.start(); thread.join()\n" \
        "assert subprocess.check_output(['echo', 'x']) == b'x\\n'\n" \
        "with multiprocessing.Pool(2) as pool: assert pool.map(abs, [-1]) == [1]\n" \
        "asyncio.run(asyncio.sleep(0))"
    outcome = run(Program(source))
    assert (outcome.ending, outcome.stdout) == ("passed", "1\n"), outcome.stderr


def test_sets_have_the_same_order_each_time() -> None:
    source = "print({str(n) for n in range(50)})"
    assert run(Program(source)).stdout == run(Program(source)).stdout


def test_its_name_decides_on_the_main_guard() -> None:
    source = "import sys\nassert sys.modules[__name__].__dict__ is globals()\nif __name__ == '__main__': print('main')"
    assert run(Program(source)).stdout == "main\n"
    other = run(Program(source, name="candidate"))
    assert (other.ending, other.stdout) == ("passed", "")


@settings(max_examples=10, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=200))
def test_any_text_goes_in_and_comes_out(text: str) -> None:
    source = "import sys\nsys.stdout.buffer.write(sys.stdin.buffer.read())"
    assert run(Program(source, text)).stdout == text


def test_what_is_no_text_comes_out_marked() -> None:
    assert run(Program("import os\nos.write(1, b'a\\xffb')")).stdout == "a\ufffdb"
