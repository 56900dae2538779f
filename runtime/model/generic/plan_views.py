"""A model in one precision, and the plans over it: each is a view in which sub-layers that are left out return zeros."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from casspec.runtime.model.generic.anatomy import Anatomy, LayerParts
from casspec.runtime.model.generic.head import HeadAlone
from casspec.runtime.model.generic.views import Passing, Zeros, copied
from casspec.runtime.model.plan import Steps


@dataclass(slots=True)
class LayerTraits:
    """What layers do without their sub-layers, as `checks.py` finds out.

    Attributes:
        are_separable: a layer runs with one of its sub-layers alone; where not, a plan runs whole layers.
        are_identity: a layer without its sub-layers gives back what it was given.
    """

    are_separable: bool = True
    are_identity: bool = True


class PlanViews:
    """Views of one model, made when they are asked for first.

    Args:
        traits: shared by all precisions of a model, and settled after the first forwards.
    """

    def __init__(self, anatomy: Anatomy, head: HeadAlone, traits: LayerTraits) -> None:
        self.anatomy, self.head, self._traits = anatomy, head, traits
        self._bodies: dict[Steps, nn.Module] = {}
        self._layers: dict[tuple[int, bool, bool], nn.Module] = {}

    def changed(self, change: Callable[[nn.Module], nn.Module | None]) -> PlanViews:
        """The same with other modules, see `views.changed`."""
        return PlanViews(self.anatomy.changed(change), self.head.changed(change), self._traits)

    def read(self, hidden: Tensor) -> Tensor:
        """Logits [rows, vocab] of final-norm hidden states [rows, hidden]."""
        return self.head(hidden)

    def body(self, steps: Steps) -> nn.Module:
        """The body with the sub-layers of a plan alone."""
        view = self._bodies.get(steps)
        if view is None:
            view = self._bodies[steps] = self._made(steps)
        return view

    def layer(self, step: tuple[int, bool, bool]) -> nn.Module:
        """A layer with attention, MLP or both."""
        view = self._layers.get(step)
        if view is None:
            view = self._layers[step] = self._made_layer(*step)
        return view

    def _made(self, steps: Steps) -> nn.Module:
        anatomy = self.anatomy
        running = {index: (attends, feeds) for index, attends, feeds in steps}
        kinds = [running.get(index, (False, False)) for index in range(len(anatomy.layers))]
        if all(attends and feeds for attends, feeds in kinds):
            return anatomy.body
        return anatomy.with_layers([self.layer((index, *kind)) for index, kind in enumerate(kinds)])

    def _made_layer(self, index: int, attends: bool, feeds: bool) -> nn.Module:
        layer, parts, traits = self.anatomy.layers[index], self.anatomy.parts[index], self._traits
        if not attends and not feeds and (traits.are_identity or not traits.are_separable):
            return Passing(layer, parts.output)
        if (attends and feeds) or not traits.are_separable:
            return layer
        return silenced(layer, parts, attends, feeds)


def silenced(layer: nn.Module, parts: LayerParts, attends: bool, feeds: bool) -> nn.Module:
    """A layer whose attention, MLP or both give zeros."""
    silent = (() if attends else (parts.attention,)) + (() if feeds else parts.mlp)
    return copied(layer, {name: Zeros(getattr(layer, name), parts.forms[name]) for name in silent})
