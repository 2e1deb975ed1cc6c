"""GuideLLM as an experiment asks for it: the interpreter that has it, and the tokenizer that its prompts are cut by."""

from pathlib import Path

from quantcheck import reference
from quantcheck.environments import python_of
from quantcheck.errors import SpecError
from quantcheck.load.guidellm import GuideLlm
from quantcheck.spec.experiment import Experiment, OpenAIEngine
from quantcheck.variants.artifact import Artifact

__all__ = ["guidellm_of", "guidellm_python"]


def guidellm_python(experiment: Experiment) -> Path:
    """The interpreter that the user names, or that of the environment; raises `EngineUnavailable`."""
    named = experiment.load.python if experiment.load is not None else None
    # Not resolved: a virtual environment's interpreter is a link, and what it points to knows no packages.
    return Path(named).expanduser().absolute() if named else python_of("guidellm")


def guidellm_of(experiment: Experiment, baseline: Artifact) -> GuideLlm:
    """With one tokenizer for all variants: the one that `load.tokenizer` names, or the baseline's.

    Raises `EngineUnavailable` without GuideLLM, `SpecError` where no tokenizer is known.
    """
    folder = _tokenizer(experiment, baseline)
    if folder is None:
        raise SpecError("load.with: GuideLLM cuts its prompts by a tokenizer, and none is known here; add "
                        "`tokenizer: FOLDER` to `load:`, with the model's tokenizer.json")
    if not (folder / "tokenizer.json").is_file() and not (folder / "tokenizer_config.json").is_file():
        raise SpecError(f"load.with: {folder}: holds no tokenizer.json, by which GuideLLM would cut its prompts; give "
                        "another folder as `load.tokenizer`")
    return GuideLlm(guidellm_python(experiment), folder)


def _tokenizer(experiment: Experiment, baseline: Artifact) -> Path | None:
    load, engine = experiment.load, experiment.engine
    if load is not None and load.tokenizer is not None:
        return Path(load.tokenizer).expanduser()
    if isinstance(engine, OpenAIEngine):
        return Path(engine.tokenizer).expanduser() if engine.tokenizer else None
    if engine.kind == "fake":
        return None
    if engine.kind == "vllm":
        return baseline.path
    if experiment.model == "reference":
        return reference.model_dir()
    named = Path(experiment.model).expanduser()
    return named if named.is_dir() else None  # else a GGUF file, or one of the hub
