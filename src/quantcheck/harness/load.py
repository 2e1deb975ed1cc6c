"""Tasks that are not read from plain files: any of lm-eval's by name, over the hub's data, or the user's definition."""

from functools import cache
from pathlib import Path
from typing import Any

from quantcheck.errors import EngineUnavailable, SpecError
from quantcheck.harness.definitions import Part
from quantcheck.harness.definitions.build import need_judge, sha256_of
from quantcheck.harness.library import need, no_fetched_code

__all__ = ["load"]


def load(name: str, fewshot: int | None = None) -> list[Part]:
    """The parts of the task or group `name`; a name that ends in `.yaml` is a definition of the user's.

    lm-eval's index of all its tasks is made for the first, which takes ten seconds. Raises `SpecError` for an unknown
    name or a definition that is wrong, `EngineUnavailable` where its data cannot be fetched, something has to be
    installed, or it runs code of the model.
    """
    need()
    need_judge(name)
    try:
        with no_fetched_code(name):
            tasks = _tasks(name)
    except (OSError, ValueError, KeyError, TypeError, ImportError) as error:
        why = " ".join(str(error).split())[:200]
        if isinstance(error, ConnectionError) or "hub" in why.lower() or "offline" in why.lower():
            raise EngineUnavailable(f"{name}: its data cannot be fetched ({why}); give the plain files by "
                                    "`quality.data`, or go online once") from error
        raise SpecError(f"{name}: lm-eval cannot load it ({why}); see `lm_eval ls tasks` for the names") from error
    for key, task in tasks.items():
        if getattr(task, "UNSAFE_CODE", False):
            raise EngineUnavailable(f"{key}: runs model-written code outside a sandbox; humaneval and mbpp run in one "
                                    "when their plain files are given by `quality.data`")
        if fewshot is not None:
            task.set_config("num_fewshot", fewshot)
    return [_part(key, task, grouped=len(tasks) > 1) for key, task in tasks.items()]


def _tasks(name: str) -> dict[str, Any]:
    if name.endswith(".yaml"):
        from lm_eval.api.task import ConfigurableTask
        from lm_eval.tasks._yaml_loader import load_yaml

        config = load_yaml(Path(name))
        for key in ("tag", "group"):
            config.pop(key, None)
        return {str(config.get("task", Path(name).stem)): ConfigurableTask(config=config)}
    found: dict[str, Any] = _all_tasks().load([name])["tasks"]
    return found


@cache
def _all_tasks() -> Any:
    """lm-eval's index of its own tasks. It keeps no task that it has loaded: each call of `load` makes its own."""
    from lm_eval.tasks import TaskManager

    return TaskManager()


def _part(key: str, task: Any, *, grouped: bool) -> Part:
    config = task.config
    shots = config.num_fewshot or 0
    cfg = config.fewshot_config
    shots_from = (cfg.split or ("the definition" if cfg.samples else "lm-eval's own rule")) if shots else None
    return Part(task, key if grouped else "", shots, shots_from, sha256_of(config.to_dict(keep_callable=True)))
