"""Where the parts of a library model are: found by watching one forward over a few tokens, not by names."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from casspec.runtime.model.generic.slot_cache import ShapeCache
from casspec.runtime.model.generic.views import Call, OutputForm, Recording, Watched, changed, copied
from casspec.runtime.model.kv_cache import LayerRows
from casspec.storage.errors import UnsupportedModel

WATCHED_TOKENS = 4


@dataclass(frozen=True, slots=True)
class LayerParts:
    """What one layer is made of.

    Attributes:
        attention: the child that writes the cache. mlp: children with weights beside it.
        forms: what each of these returns. rows: what the layer keeps in the cache. output: what the layer itself returns.
    """

    attention: str
    mlp: tuple[str, ...]
    forms: dict[str, OutputForm]
    rows: LayerRows
    output: OutputForm


@dataclass(frozen=True, slots=True)
class Anatomy:
    """The parts of a model; the model itself is not held.

    Attributes:
        path: attributes that lead from the model to `body`, which runs the layers. name: that of their list in the body.
        width: of the hidden states that the body returns.
    """

    path: tuple[str, ...]
    body: nn.Module
    name: str
    width: int
    layers: tuple[nn.Module, ...]
    parts: tuple[LayerParts, ...]

    def with_layers(self, layers: Sequence[nn.Module]) -> nn.Module:
        """A view of the body with other layers."""
        return copied(self.body, {self.name: nn.ModuleList(layers)})

    def changed(self, change: Callable[[nn.Module], nn.Module | None]) -> Anatomy:
        """The same parts of a view of the body, see `views.changed`."""
        body = changed(self.body, change)
        return replace(self, body=body, layers=tuple(getattr(body, self.name)))

    def brief_run(self, tokens: Tensor) -> Tensor:
        """Hidden states of a text [1, tokens], of which nothing is kept."""
        cache = ShapeCache(len(self.layers), tokens.shape[1], lambda _: None)
        states: Tensor = self.body(input_ids=tokens, past_key_values=cache, use_cache=True)[0]
        return states

    def calls(self, **inputs: Any) -> list[Call]:
        """How the body calls each layer for some inputs; no layer runs."""
        calls: list[Call] = []
        stand_ins = [Recording(layer, part.output, calls) for layer, part in zip(self.layers, self.parts, strict=True)]
        self.with_layers(stand_ins)(**inputs)
        return calls


@torch.inference_mode()
def anatomy_of(model: Any) -> Anatomy:
    """Watches a forward of a library model. Raises UnsupportedModel where parts are not where a decoder has them."""
    n_layers = text_config(model.config).num_hidden_layers
    paths = sorted(_paths_of_lists(model, n_layers), key=len)
    if not paths or len(paths[0]) < 2:
        raise UnsupportedModel(f"{type(model).__name__} has no body with a list of {n_layers} layers, as a decoder has")
    *path, name = paths[0]
    body = model.get_submodule(".".join(path))
    layers = tuple(getattr(body, name))
    _refuse_hooks(body, layers)
    width, parts = _watched(model, body, name, layers)
    return Anatomy(tuple(path), body, name, width, layers, parts)


def text_config(config: Any) -> Any:
    """Of the part that reads text, which is all of most models."""
    return config.get_text_config(decoder=True)


def _paths_of_lists(model: nn.Module, n_layers: int) -> Iterator[list[str]]:
    for name, child in model.named_modules():
        if isinstance(child, nn.ModuleList) and len(child) == n_layers:
            yield name.split(".")


def _refuse_hooks(body: nn.Module, layers: tuple[nn.Module, ...]) -> None:
    """A forward that hooks have put on an instance runs the original from a copy, too."""
    hooked = [module for module in (body, *layers) if "forward" in vars(module)]
    if hooked:
        raise UnsupportedModel(
            f"hooks have replaced the forward of {type(hooked[0]).__name__}, for instance those of device_map; load the model "
            "without them, on one device"
        )


def _watched(
    model: Any, body: nn.Module, name: str, layers: tuple[nn.Module, ...]
) -> tuple[int, tuple[LayerParts, ...]]:
    watch = _Watch(len(layers))
    watching = nn.ModuleList(watch.layer(index, layer) for index, layer in enumerate(layers))
    embedding = model.get_input_embeddings().weight
    tokens = torch.arange(WATCHED_TOKENS, device=embedding.device)[None] % len(embedding)
    cache = ShapeCache(len(layers), WATCHED_TOKENS, watch.note_rows)
    returned = copied(body, {name: watching})(input_ids=tokens, past_key_values=cache, use_cache=True)
    parts = tuple(watch.parts(index, layer, cache.found.get(index, [])) for index, layer in enumerate(layers))
    return returned[0].shape[-1], parts


class _Watch:
    """Notes which children of which layer run, what they return, and under which of them the cache is written."""

    def __init__(self, n_layers: int) -> None:
        self._running: list[str] = []
        self._returned: list[dict[str, OutputForm | None]] = [{} for _ in range(n_layers)]
        self._outputs: list[OutputForm | None] = [None] * n_layers
        self._writers: list[list[str]] = [[] for _ in range(n_layers)]
        self._layer = 0

    def layer(self, index: int, layer: nn.Module) -> nn.Module:
        """The layer with all children watched."""
        children = {name: self._child(index, name, child) for name, child in layer.named_children()}
        return Watched(copied(layer, children), lambda: self._enter(index), lambda out: self._leave(index, out))

    def note_rows(self, layer: int) -> None:
        """The cache was written."""
        self._writers[self._layer].append(self._running[-1] if self._running else "")

    def parts(self, index: int, layer: nn.Module, rows: list[LayerRows]) -> LayerParts:
        """Of a layer that has run. Raises UnsupportedModel."""
        name, output = type(layer).__name__, self._outputs[index]
        if output is None:
            raise UnsupportedModel(f"layer {index} ({name}) was not run, or returned no numbers")
        if len(rows) != 1:
            times = "never" if not rows else f"{len(rows)} times"
            raise UnsupportedModel(
                f"layer {index} ({name}) writes its keys and values {times}, where a layer does so once: such layers share keys "
                "or keep other state, which drafts could not be taken back from"
            )
        attention, returned = self._writers[index][0], self._returned[index]
        forms = {
            child: form
            for child, form in returned.items()
            if form is not None and (child == attention or _has_matrix(layer, child))
        }
        mlp = tuple(child for child in forms if child != attention and _adds(layer, child, forms[child], output))
        return LayerParts(attention, mlp, forms, rows[0], output)

    def _child(self, index: int, name: str, child: nn.Module) -> nn.Module:
        if isinstance(child, nn.ModuleList | nn.ModuleDict):
            return child
        return Watched(child, lambda: self._running.append(name), lambda out: self._note(index, name, out))

    def _note(self, index: int, name: str, out: Any) -> None:
        self._running.pop()
        self._returned[index][name] = OutputForm.of(out)

    def _enter(self, index: int) -> None:
        self._layer = index

    def _leave(self, index: int, out: Any) -> None:
        self._outputs[index] = OutputForm.of(out)


def _has_matrix(layer: nn.Module, child: str) -> bool:
    module = getattr(layer, child)
    return any(weight.ndim > 1 for weight in (*module.parameters(), *module.buffers()))


def _adds(layer: nn.Module, child: str, form: OutputForm, output: OutputForm) -> bool:
    """Whether a child is a linear, or what it returns is as wide as the residual stream. A router is neither."""
    return form.width == output.width or isinstance(getattr(layer, child), nn.Linear)
