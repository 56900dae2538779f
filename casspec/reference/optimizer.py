"""The optimizer of the recipe: Muon on hidden matrices, AdamW on embeddings and norms, both on float32 master copies.

The model computes in bfloat16, where a small update of a large weight would round to nothing; so the updates are summed
in float32 copies, from which the model's weights are rewritten after each step.
"""

from __future__ import annotations

from typing import Any

import torch

MUON_LEARNING_RATE = 0.02
ADAMW_LEARNING_RATE = 3e-3
MOMENTUM = 0.95
WEIGHT_DECAY = 0.01
ADAMW_BETAS = (0.9, 0.95)
LARGEST_GRADIENT_NORM = 1.0

WARM_UP = 0.02
DECAY_BEGINS = 0.5
LAST_FACTOR = 0.02


def learning_rate_factor(progress: float) -> float:
    """Factor on both learning rates at `progress` in [0, 1]: linear warm-up, constant, linear down to 2 %."""
    if progress < WARM_UP:
        return max(progress / WARM_UP, LAST_FACTOR)
    if progress < DECAY_BEGINS:
        return 1.0
    remaining = max(0.0, 1.0 - progress) / (1.0 - DECAY_BEGINS)
    return LAST_FACTOR + (1.0 - LAST_FACTOR) * remaining


class MasterOptimizer:
    """Steps float32 master copies with the gradients of a model in lower precision and writes them back."""

    def __init__(self, model: torch.nn.Module):
        self.weights = dict(model.named_parameters())
        self.masters = {name: weight.detach().float().clone() for name, weight in self.weights.items()}
        hidden = [name for name, weight in self.weights.items() if weight.ndim == 2 and ".layers." in name]
        others = [name for name in self.weights if name not in set(hidden)]
        self.optimizers: tuple[torch.optim.Optimizer, ...] = (
            torch.optim.Muon(
                [self.masters[name] for name in hidden],
                lr=MUON_LEARNING_RATE,
                momentum=MOMENTUM,
                weight_decay=WEIGHT_DECAY,
            ),
            torch.optim.AdamW(
                [self.masters[name] for name in others], lr=ADAMW_LEARNING_RATE, betas=ADAMW_BETAS, weight_decay=0.0
            ),
        )
        self.peak_rates = [optimizer.param_groups[0]["lr"] for optimizer in self.optimizers]

    def step(self, progress: float) -> None:
        """One update from the gradients now in the model, which are cleared."""
        for name, weight in self.weights.items():
            self.masters[name].grad = None if weight.grad is None else weight.grad.float()
            weight.grad = None
        torch.nn.utils.clip_grad_norm_(self.masters.values(), LARGEST_GRADIENT_NORM)
        for optimizer, peak_rate in zip(self.optimizers, self.peak_rates, strict=True):
            optimizer.param_groups[0]["lr"] = peak_rate * learning_rate_factor(progress)
            optimizer.step()
        self._write_back()

    @torch.no_grad()
    def _write_back(self) -> None:
        for name, weight in self.weights.items():
            weight.copy_(self.masters[name])

    def state_dict(self) -> dict[str, Any]:
        return {"masters": self.masters, "optimizers": [optimizer.state_dict() for optimizer in self.optimizers]}

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name, master in self.masters.items():
            master.copy_(state["masters"][name])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self._write_back()
