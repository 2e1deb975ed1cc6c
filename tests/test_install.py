"""What is installed: the core alone is enough, each module says what it is, and the wheel holds what a run needs."""

import ast
import importlib.util
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "quantcheck"
FILES = sorted(SOURCE.rglob("*.py"))
BLOCKED = ("torch", "transformers", "pytest", "tokenizers", "statsmodels", "jsonschema", "hypothesis", "sklearn",
           "pandas", "pyarrow", "datasets", "lm_eval", "evaluate", "nltk", "playwright", "ray", "vllm", "mypy",
           "_pytest")


def module_of(file: Path) -> str:
    parts = file.relative_to(SOURCE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


SCRIPTS = ("guard.py", "compress_job.py", "inside.py")
UNDER_TORCH = ("worker.py", "loading.py", "passes.py", "timing.py", "exchange.py")


def is_script(file: Path) -> bool:
    """Run by its path, by an interpreter that may have nothing of quantcheck, and never imported."""
    return file.name in SCRIPTS or (file.parent == SOURCE / "engines" / "hf" and file.name in UNDER_TORCH)


EVAL = SOURCE / "harness"
"""May import what the extra `eval` brings."""
BROUGHT = {"lm_eval", "datasets", "evaluate", "nltk", "jinja2"}
PLUGIN = SOURCE / "pytest_plugin.py"
AT_THE_TOP = ("quantcheck.harness.model", "quantcheck.pytest_plugin")
"""A subclass of lm-eval's own class, imported only when tasks are answered; and what only pytest imports."""


def test_the_core_imports_without_anything_else() -> None:
    """Every module, in a process in which test, extra and training packages cannot be imported."""
    modules = [module_of(file) for file in FILES if file.name != "__main__.py" and not is_script(file)
               and module_of(file) not in AT_THE_TOP]
    assert len(modules) > 50
    code = f"""
import importlib, sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition('.')[0] in {BLOCKED!r}:
            raise ModuleNotFoundError('blocked: ' + name, name=name)
sys.meta_path.insert(0, Blocker())
for name in {BLOCKED!r}:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        assert 'blocked' in str(error)
    else:
        raise AssertionError(name + ' is not blocked')
for name in {modules!r}:
    importlib.import_module(name)
import quantcheck
for name in quantcheck.__all__:
    getattr(quantcheck, name)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_what_is_imported_is_declared() -> None:
    """Third-party modules of the core, as the source names them, against pyproject's dependencies."""
    declared = {requirement.replace("-", "_").lower() for requirement in (
        entry.partition(">")[0].partition("=")[0] for entry in
        tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"])}
    packages = {"yaml": "pyyaml", "pydantic_core": "pydantic", "pynvml": "nvidia_ml_py"}
    found = set()
    for file in FILES:
        if is_script(file) or file == PLUGIN:
            continue
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else \
                [node.module] if isinstance(node, ast.ImportFrom) and node.module and not node.level else []
            tops = {name.partition(".")[0] for name in names}
            found |= tops - BROUGHT if file.is_relative_to(EVAL) else tops
    third = {packages.get(name, name) for name in found - set(sys.stdlib_module_names) - {"quantcheck", "__future__"}}
    assert third <= declared
    # `safetensors`, `huggingface_hub`, `uv` and `xllamacpp` may be reached without an import statement.
    assert declared - third <= {"xllamacpp", "safetensors", "huggingface_hub", "uv"}


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(SOURCE)))
def test_each_module_says_what_it_is_and_what_it_offers(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    if not text.strip():
        assert file.name == "__init__.py", "only a package marker may be empty"
        return
    tree = ast.parse(text)
    if file.name == "__main__.py":
        return
    assert ast.get_docstring(tree), "no docstring"
    if is_script(file):
        return
    assigned = [node for node in tree.body if isinstance(node, ast.Assign)
                and any(isinstance(target, ast.Name) and target.id == "__all__" for target in node.targets)]
    defines = any(isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef) for node in tree.body)
    if not defines and not assigned:
        return  # a package marker with a docstring
    assert len(assigned) == 1, "no __all__"
    names = ast.literal_eval(assigned[0].value)
    assert len(set(names)) == len(names)


def test_what_all_promises_is_there() -> None:
    code = f"""
import importlib
for name in {[module_of(file) for file in FILES if file.name != "__main__.py" and not is_script(file)]!r}:
    module = importlib.import_module(name)
    for offered in getattr(module, '__all__', ()):
        assert hasattr(module, offered), (name, offered)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_wheel_holds_what_a_run_needs_and_nothing_of_the_recipe(tmp_path: Path) -> None:
    if importlib.util.find_spec("hatchling") is None:
        pytest.skip("hatchling, which builds the wheel, is not installed here")
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)], cwd=ROOT,
                   check=True, capture_output=True, timeout=120)
    wheel, = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        model = "quantcheck/reference/model/model.safetensors"
        assert archive.getinfo(model).file_size == (SOURCE / "reference/model/model.safetensors").stat().st_size
    data = {path.relative_to(SOURCE.parent).as_posix() for folder in ("reference", "presets")
            for path in (SOURCE / folder).rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    assert {"quantcheck/reference/model/config.json", "quantcheck/reference/model/tokenizer.json",
            "quantcheck/reference/skills/arithmetic.jsonl", "quantcheck/reference/corpora/stories.jsonl",
            "quantcheck/presets/reference.yaml"} <= data
    assert data <= names
    assert {file.relative_to(SOURCE.parent).as_posix() for file in FILES} <= names
    assert "quantcheck/py.typed" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    top = {name.partition("/")[0] for name in names}
    assert {name for name in top if not name.endswith(".dist-info")} == {"quantcheck"}
    assert not any("__pycache__" in name or name.endswith(("training.csv", "train.py")) for name in names)
    assert wheel.stat().st_size < 30e6
