"""Fuzzes one reader for a time: `python fuzz/run.py TARGET [--seconds 600] [--corpus DIR]`. Needs atheris.

Atheris instruments quantcheck's own modules and the readers below them, and libFuzzer keeps each input that reaches new
code in DIR, which begins with fuzz/corpus/TARGET. The first fault ends the run: its input lies beside DIR, and belongs
into the corpus once it is mended. tests/test_fuzz.py runs every input of the corpus, without atheris.
"""

import argparse
import shutil
import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["quantcheck", "gguf", "yaml"]):
    from targets import MOST_BYTES, TARGETS, inputs, prepare

HANG_S = 60


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", choices=sorted(TARGETS))
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--corpus", type=Path, help="where new inputs go (default: build/fuzz/TARGET)")
    chosen = parser.parse_args()
    folder = chosen.corpus or Path("build") / "fuzz" / chosen.target
    folder.mkdir(parents=True, exist_ok=True)
    for file in inputs(chosen.target):
        shutil.copy(file, folder / file.name)
    prepare()
    options = [sys.argv[0], str(folder), f"-max_total_time={chosen.seconds}", f"-timeout={HANG_S}",
               f"-max_len={MOST_BYTES}", f"-artifact_prefix={folder.parent}/{chosen.target}-", "-rss_limit_mb=4096",
               "-print_final_stats=1", "-verbosity=1"]
    atheris.Setup(options, TARGETS[chosen.target])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
