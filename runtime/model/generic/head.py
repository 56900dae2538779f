"""The head of a library model by itself: from hidden states to logits, with whatever the model does to them on the way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers.modeling_outputs import ModelOutput

from casspec.runtime.model.generic.views import StandIn, changed, with_module


@dataclass
class _BodyOutput(ModelOutput):
    """What a body returns: hidden states, and None for whatever else a head looks for."""

    last_hidden_state: Tensor | None = None

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return None


class HeadAlone:
    """A model whose body gives hidden states it is handed: what it then says are the logits, scaled as the model scales them."""

    def __init__(self, view: nn.Module, body: _Body) -> None:
        self.view, self._body = view, body

    @classmethod
    def of(cls, model: nn.Module, path: Sequence[str]) -> HeadAlone:
        """path: from the model to its body."""
        body = _Body(model.get_submodule(".".join(path)))
        return cls(with_module(model, path, body), body)

    def changed(self, change: Callable[[nn.Module], nn.Module | None]) -> HeadAlone:
        """The same with other modules, see `views.changed`."""
        return HeadAlone(changed(self.view, change), self._body)

    def __call__(self, hidden: Tensor) -> Tensor:
        """Logits [rows, vocab] of final-norm hidden states [rows, hidden]."""
        self._body.hidden = hidden[None]
        logits = self.view(input_ids=hidden.new_zeros((1, 1), dtype=torch.int64)).logits
        self._body.hidden = None
        return logits[0]


class _Body(StandIn):
    """A body that returns the hidden states it holds."""

    hidden: Tensor | None = None

    def forward(self, *args: Any, **kwargs: Any) -> _BodyOutput:
        return _BodyOutput(last_hidden_state=self.hidden)
