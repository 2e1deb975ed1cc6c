"""Modules of the loaded model exchanged with those of another, within the worker: runs beside torch alone."""

# mypy: disable-error-code="import-not-found"
from typing import Any

__all__ = ["exchange", "unlike"]


def unlike(model: Any, other: Any) -> list[str]:
    """Names of the modules with weights of their own that differ between two models of one architecture."""
    import torch

    theirs = dict(other.named_modules())
    found = []
    for name, module in model.named_modules():
        if next(module.children(), None) is not None or name not in theirs:
            continue
        ours, others = tensors(module), tensors(theirs[name])
        same = ours.keys() == others.keys() and all(
            value.dtype == others[key].dtype and value.shape == others[key].shape and torch.equal(value, others[key])
            for key, value in ours.items()
        )
        if ours and not same:
            found.append(name)
    return found


def tensors(module: Any) -> dict[str, Any]:
    return {**dict(module.named_parameters(recurse=False)), **dict(module.named_buffers(recurse=False))}


def exchange(model: Any, other: Any, names: list[str]) -> None:
    """Each of the modules `names` changes places with the other model's; once more puts them back."""
    for name in names:
        parent, _, own = name.rpartition(".")
        here, there = model.get_submodule(parent), other.get_submodule(parent)
        ours, theirs = getattr(here, own), getattr(there, own)
        setattr(here, own, theirs)
        setattr(there, own, ours)
