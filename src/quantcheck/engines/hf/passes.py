"""Forward passes of a loaded model: logits, log-likelihoods and continuations of batches of token ids.

Texts that are scored are padded on the right, prompts that are continued on the left, so that the next token of each
stands in the same column. Padding is masked and has no position: it moves no value beyond the rounding of a batch of
another shape.
"""

# mypy: disable-error-code="import-not-found"
import inspect
from typing import Any

import numpy as np

__all__: list[str] = []

ROWS = 256
"""Rows of logits that are turned to float64 at once."""


def padded(model: Any, ids: Any, lengths: Any, *, left: bool) -> tuple[Any, Any]:
    """(token ids, mask), both [sequences, longest], of sequences that lie one after the other in `ids`."""
    import torch

    longest = int(lengths.max())
    tokens = np.zeros((len(lengths), longest), np.int64)
    mask = np.zeros((len(lengths), longest), np.int64)
    for row, part in enumerate(np.split(ids, np.cumsum(lengths)[:-1])):
        place = slice(longest - len(part), None) if left else slice(0, len(part))
        tokens[row, place] = part
        mask[row, place] = 1
    device = model.device
    return torch.from_numpy(tokens).to(device), torch.from_numpy(mask).to(device)


def positions(mask: Any) -> Any:
    """Of each token among those that are none of padding; padding's own do not matter."""
    return (mask.cumsum(-1) - 1).clamp(min=0)


def keeping(model: Any, rows: Any) -> dict[str, Any]:
    """Arguments that make the model compute only `rows` of its logits (a tensor of columns, or how many last ones)."""
    if "logits_to_keep" in inspect.signature(model.forward).parameters:
        return {"logits_to_keep": rows}
    return {}


def kept(model: Any, logits: Any, rows: Any) -> Any:
    """`rows` of logits that `keeping` did not cut."""
    if keeping(model, rows):
        return logits
    return logits[:, -rows:] if isinstance(rows, int) else logits[:, rows]


def forward(model: Any, tokens: Any, mask: Any, rows: Any = None, **more: Any) -> Any:
    arguments = {} if rows is None else keeping(model, rows)
    return model(input_ids=tokens, attention_mask=mask, **arguments, **more)


def logits(model: Any, ids: Any, lengths: Any, skip: Any) -> Any:
    """float32 [tokens of all sequences less `skip` of each, vocabulary]; row i of a sequence predicts its token i + 1.
    """
    import torch

    with torch.inference_mode():
        tokens, mask = padded(model, ids, lengths, left=False)
        first = int(skip.min())
        columns = torch.arange(first, tokens.shape[1], device=model.device)
        found = forward(model, tokens, mask, columns, position_ids=positions(mask), use_cache=False).logits
        found = kept(model, found, columns)
        out = np.empty((int((lengths - skip).sum()), found.shape[-1]), np.float32)
        begin = 0
        for row, (length, less) in enumerate(zip(lengths.tolist(), skip.tolist(), strict=True)):
            out[begin : begin + length - less] = found[row, less - first : length - first].float().cpu().numpy()
            begin += length - less
    return out


def loglikelihoods(model: Any, arrays: dict[str, Any]) -> dict[str, Any]:
    """Of pairs: the summed log-probability (float64) of each one's targets, and whether each was the likeliest.

    `ids`, `lengths`: the sequences. A pair's targets are expected after `starts`, `starts` + 1, ... of the sequence
    `owners`; they lie one after the other in `targets`, `counts` of each. The first of equally likely ones counts.
    """
    import torch

    owners, starts, counts = arrays["owners"], arrays["starts"], arrays["counts"]
    with torch.inference_mode():
        tokens, mask = padded(model, arrays["ids"], arrays["lengths"], left=False)
        first = int(starts.min())
        columns = torch.arange(first, tokens.shape[1], device=model.device)
        found = forward(model, tokens, mask, columns, position_ids=positions(mask), use_cache=False).logits
        found = kept(model, found, columns)
        rows = np.repeat(owners, counts)
        within = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
        places = np.repeat(starts, counts) + within - first
        own = np.empty(len(rows), np.float64)
        best = np.empty(len(rows), np.bool_)
        for begin in range(0, len(rows), ROWS):
            part = slice(begin, begin + ROWS)
            target = torch.from_numpy(arrays["targets"][part].astype(np.int64)).to(model.device)
            picked = found[torch.from_numpy(rows[part]).to(model.device),
                           torch.from_numpy(places[part]).to(model.device)].double()
            chosen = picked.gather(1, target[:, None])[:, 0] - picked.logsumexp(-1)
            own[part] = chosen.cpu().numpy()
            best[part] = (picked.argmax(-1) == target).cpu().numpy()
    pair = np.repeat(np.arange(len(counts)), counts)
    return {"logprobs": np.bincount(pair, own, len(counts)), "greedy": np.bincount(pair, ~best, len(counts)) == 0}


class Writing:
    """Continuations of a batch of prompts, one token a step; `greedy`: here, by the first of the greatest logits."""

    def __init__(self, model: Any, *, greedy: bool) -> None:
        self.model, self.greedy = model, greedy

    def begin(self, ids: Any, lengths: Any) -> dict[str, Any]:
        """Read the prompts: `tokens` [prompts] that come next, or `logits` float32 [prompts, vocabulary]."""
        import torch

        with torch.inference_mode():
            tokens, self.mask = padded(self.model, ids, lengths, left=True)
            found = forward(self.model, tokens, self.mask, 1, position_ids=positions(self.mask), use_cache=True)
            self.cache = found.past_key_values
            return self._told(found.logits)

    def step(self, tokens: Any, keep: Any = None) -> dict[str, Any]:
        """Go on with one token for each prompt, of those in `keep` (row numbers) alone where it is given."""
        import torch

        with torch.inference_mode():
            if keep is not None:
                rows = torch.from_numpy(keep.astype(np.int64)).to(self.model.device)
                self.cache.batch_select_indices(rows)
                self.mask = self.mask[rows]
            last = torch.from_numpy(tokens.astype(np.int64)).to(self.model.device)[:, None]
            self.mask = torch.cat([self.mask, self.mask.new_ones(len(tokens), 1)], dim=1)
            found = forward(self.model, last, self.mask, 1, position_ids=positions(self.mask)[:, -1:], use_cache=True,
                            past_key_values=self.cache)
            return self._told(found.logits)

    def _told(self, found: Any) -> dict[str, Any]:
        last = found[:, -1]
        if self.greedy:
            return {"tokens": last.argmax(-1).cpu().numpy().astype(np.int32)}
        return {"logits": last.float().cpu().numpy()}
