"""Servers that the user runs: what stands in for an artifact, and how a load is sent to them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from quantcheck.engines.base import Endpoint
from quantcheck.engines.endpoint import RunningServer, ask_models, headers_of
from quantcheck.engines.folder_tokenizer import FolderTokenizer
from quantcheck.errors import EngineError, SpecError
from quantcheck.load.probe import Abilities, probe
from quantcheck.load.sending import Limits, Sending
from quantcheck.spec.document import content_hash
from quantcheck.spec.experiment import Experiment, OpenAIEngine, Variant
from quantcheck.variants.artifact import Artifact, OnFailure, make_each
from quantcheck.variants.hashing import file_sha256

__all__ = ["asked_of", "prepare_endpoints", "running_server", "sending_to"]

Tell = Callable[[str], None]


def prepare_endpoints(experiment: Experiment, on_failure: OnFailure) -> dict[str, Artifact]:
    """What each variant's server tells of its model, by variant; `path` is the tokenizer's folder, where one is given.

    A recipe's `sha256` is over URL, model, what the server tells, and the tokenizer: there are no files to hash, and
    weights that were exchanged behind the same name are not seen. Raises `SpecError` for a key that is not set or a
    model that a server does not have, `ModelError` for a damaged tokenizer; `on_failure` is told of servers that do not
    answer.
    """
    engine = experiment.engine
    assert isinstance(engine, OpenAIEngine)
    shared: dict[str, Any] = {}
    if engine.tokenizer is not None:
        folder = Path(engine.tokenizer)
        if not folder.is_dir():
            raise SpecError(f"engine.tokenizer: {folder} is no folder; give one with the model's config.json and "
                            "tokenizer.json")
        shared = {"vocabulary": FolderTokenizer(folder).vocab_size,
                  "tokenizer_sha256": file_sha256(folder / "tokenizer.json")}

    def make(name: str, variant: Variant) -> Artifact:
        assert variant.url is not None
        assert variant.model is not None
        told = ask_models(variant.url, variant.model, engine.api_key_env)
        recipe = {"scheme": "as it is served", "url": variant.url, "model": variant.model, **told, **shared}
        # The header is told, and decides nothing: a service may answer through one proxy now and another then.
        stays = {key: value for key, value in recipe.items() if key != "software"}
        return Artifact(name, Path(engine.tokenizer or ""), {**recipe, "sha256": content_hash(stays)})

    return make_each(experiment.variants, make, on_failure)


def running_server(engine: OpenAIEngine, recipe: Any) -> RunningServer:
    """The server of one variant, for one block or one scoring process."""
    return RunningServer(recipe["url"], recipe["model"], engine.api, engine.api_key_env)


def asked_of(engine: OpenAIEngine, endpoint: Endpoint, *, ids: bool) -> Abilities:
    """Which forms of request the server takes, found out by asking; `ids`: prompts of token ids are wanted.

    Raises `EngineError` where it refuses them all, and what `headers_of` raises.
    """
    headers_of(engine.api_key_env)
    try:
        return probe(endpoint, ids=ids and engine.api == "completions", key_variable=engine.api_key_env)
    except SpecError as error:  # of one variant's server, so that the others can be measured
        raise EngineError(str(error)) from error


def sending_to(engine: OpenAIEngine, abilities: Abilities, limits: Limits, scratch: Path) -> Sending:
    """How a load is sent: token ids where they are taken and a tokenizer is there, else text."""
    folder = Path(engine.tokenizer) if engine.tokenizer is not None else None
    return Sending(limits=limits, tokenizer=folder, prompt_form="ids" if abilities.ids else "text",
                   plain=abilities.plain, key_variable=engine.api_key_env, scratch=scratch)
