"""Ways to run one forward of a model on this processor: torch's operators, torch.compile, and the native forward.

    python -m benchmarks.forwards --model smollm2
    python -m benchmarks.forwards --model DIRECTORY --rows 1,8 --no-autotune

Every way computes the same logits of the same rows over the same cache, and is timed in turn with the others. `inductor` compiles the whole
forward with frozen weights, a shape at a time; `inductor tuned` chooses among kernels by timing them, which takes a C++ compiler and
minutes. Each runs in a process of its own, so that its memory is its own. The last line of stdout is one JSON document.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import resource
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from statistics import median
from typing import Any

import click
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from casspec.cli.options import apply_threads
from casspec.model_names import directory_of
from casspec.runtime.loading.models import load_library_model
from casspec.runtime.model.forward_input import ForwardInput
from casspec.runtime.model.inputs import InputBuffers
from casspec.runtime.model.target import TargetModel
from casspec.storage.errors import CasspecError

NATIVE, EAGER, COMPILED, TUNED = "native", "eager", "inductor", "inductor tuned"
CAPACITY, CONTEXT = 256, 100
REPEATS = 15
FAMILIES = ("llama",)


@dataclass(frozen=True)
class Figure:
    """A way at a number of rows. milliseconds: median; least, most: of all. first_s: until its first result, compiling included."""

    way: str
    rows: int
    milliseconds: float
    least: float
    most: float
    first_s: float
    error: float
    """Largest difference of a logit from the eager forward, over the largest logit."""


class Whole(nn.Module):
    """A llama's forward from tokens to logits as one function of four tensors, whose weights a compiler may take for constants."""

    def __init__(self, model: Any, capacity: int) -> None:
        super().__init__()
        config = model.config
        self.heads, self.kv_heads, self.head_dim = (
            config.num_attention_heads,
            config.num_key_value_heads,
            config.head_dim,
        )
        self.hidden, self.epsilon = config.hidden_size, config.rms_norm_eps
        self.embedding, self.final_norm = model.model.embed_tokens.weight, model.model.norm.weight
        self.head = model.lm_head.weight
        self.layers = nn.ModuleList()
        for layer in model.model.layers:
            of = nn.Module()
            attention, mlp = layer.self_attn, layer.mlp
            with torch.no_grad():
                linears = (attention.q_proj, attention.k_proj, attention.v_proj)
                of.qkv = nn.Parameter(torch.cat([each.weight for each in linears]), requires_grad=False)
                gate_up = torch.cat((mlp.gate_proj.weight, mlp.up_proj.weight))
                of.gate_up = nn.Parameter(gate_up, requires_grad=False)
            of.output, of.down = attention.o_proj.weight, mlp.down_proj.weight
            of.attention_norm, of.mlp_norm = layer.input_layernorm.weight, layer.post_attention_layernorm.weight
            shape = (self.kv_heads, capacity + 1, self.head_dim)
            of.register_buffer("keys", torch.zeros(shape, dtype=self.head.dtype))
            of.register_buffer("values", torch.zeros(shape, dtype=self.head.dtype))
            self.layers.append(of)
        angles = torch.arange(capacity + 1)[:, None] * model.model.rotary_emb.inv_freq.float()
        self.register_buffer("cos", torch.cat((angles.cos(),) * 2, -1).to(self.head.dtype))
        self.register_buffer("sin", torch.cat((-angles.sin(), angles.sin()), -1).to(self.head.dtype))

    def forward(self, token_ids: Tensor, positions: Tensor, rows: Tensor, mask: Tensor) -> Tensor:
        """Logits [queries, vocab]; the arguments are those of `ForwardInput`, of one sequence."""
        n, length = token_ids.shape[1], mask.shape[3]
        x = F.embedding(token_ids[0], self.embedding)
        cos, sin = self.cos[positions[0]][:, None], self.sin[positions[0]][:, None]
        for layer in self.layers:
            normed = torch.rms_norm(x, (self.hidden,), layer.attention_norm, self.epsilon)
            fused = F.linear(normed, layer.qkv).view(n, -1, self.head_dim)
            turning, value = fused.split((self.heads + self.kv_heads, self.kv_heads), 1)
            turned = turning * cos + turning.roll(self.head_dim // 2, -1) * sin
            query, key = turned.split((self.heads, self.kv_heads), 1)
            layer.keys.index_copy_(1, rows, key.transpose(0, 1))
            layer.values.index_copy_(1, rows, value.transpose(0, 1))
            groups = self.heads // self.kv_heads
            query = query.view(n, self.kv_heads, groups, self.head_dim).permute(1, 2, 0, 3)
            query = query.reshape(1, self.kv_heads, groups * n, self.head_dim)
            seen = mask[:, :, None].expand(1, 1, groups, n, length).reshape(1, 1, groups * n, length)
            mixed = F.scaled_dot_product_attention(
                query, layer.keys[None, :, :length], layer.values[None, :, :length], attn_mask=seen
            )
            mixed = mixed.view(self.heads, n, self.head_dim).transpose(0, 1).reshape(n, -1)
            x = x + F.linear(mixed, layer.output)
            normed = torch.rms_norm(x, (self.hidden,), layer.mlp_norm, self.epsilon)
            gate, up = F.linear(normed, layer.gate_up).chunk(2, -1)
            x = x + F.linear(F.silu(gate) * up, layer.down)
        return F.linear(torch.rms_norm(x, (self.hidden,), self.final_norm, self.epsilon), self.head)


def text(buffers: InputBuffers, vocab: int, first: int, n: int) -> ForwardInput:
    """`n` tokens of a fixed text that go on at slot `first`."""
    return buffers.causal([(7 * place + 3) % vocab for place in range(first, first + n)], first)


def ours(target: TargetModel) -> Callable[[ForwardInput], Tensor]:
    cache = target.new_cache(CAPACITY)
    return lambda inputs: target.forward(inputs, cache, target.full_plan)[: inputs.n_tokens or None]


def compiled(target: TargetModel, tuned: bool) -> Callable[[ForwardInput], Tensor]:
    if target.family not in FAMILIES:
        raise click.ClickException(f"a {target.family}: the compiled forward of this script is a {FAMILIES[0]}'s")
    import torch._inductor.config as inductor

    inductor.freezing = True
    if tuned:
        inductor.max_autotune, inductor.max_autotune_gemm_backends = True, "CPP,ATEN"
    whole = Whole(target.library_model, CAPACITY).eval()
    run = torch.compile(whole, fullgraph=True, dynamic=False)
    return lambda inputs: run(inputs.token_ids, inputs.positions, inputs.rows, inputs.mask)


def serve(model: str, way: str, threads: int, pipe: Connection) -> None:
    """One way in a process: answers (rows, how often) with times and logits until it is told None."""
    apply_threads(threads)
    torch._dynamo.config.recompile_limit = 64
    library, _ = load_library_model(directory_of(model) or model, "bfloat16")
    target = TargetModel(library.eval().requires_grad_(False), pack=way == NATIVE, owned=way == NATIVE)
    forward = compiled(target, way == TUNED) if way in (COMPILED, TUNED) else ours(target)
    buffers = InputBuffers(CAPACITY, target.dtype, target.device)
    with torch.inference_mode():
        for start in range(0, CONTEXT, 4):  # the text before, in forwards of a shape of its own
            forward(text(buffers, target.vocab_size, start, 4))
        pipe.send(target.is_native)
        while (asked := pipe.recv()) is not None:
            rows, repeats = asked
            inputs = text(buffers, target.vocab_size, CONTEXT, rows)
            times = []
            for _ in range(repeats):
                began = time.perf_counter()
                logits = forward(inputs)
                times.append(time.perf_counter() - began)
            pipe.send((times, logits[:rows].float().numpy()))
    pipe.send(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)


class Way:
    """A process that runs forwards one way."""

    def __init__(self, name: str, model: str, threads: int) -> None:
        self.name = name
        context = multiprocessing.get_context("spawn")
        self.pipe, other = context.Pipe()
        self.process = context.Process(target=serve, args=(model, name, threads, other), daemon=True)
        began = time.perf_counter()
        self.process.start()
        other.close()
        self.is_native: bool = self.pipe.recv()
        self.ready_s = time.perf_counter() - began
        self.first_s: dict[int, float] = {}
        self.times: dict[int, list[float]] = {}
        self.logits: dict[int, Any] = {}

    def run(self, rows: int, repeats: int) -> None:
        self.pipe.send((rows, repeats))
        times, self.logits[rows] = self.pipe.recv()
        if rows not in self.first_s:
            self.first_s[rows] = times[0]
        else:
            self.times.setdefault(rows, []).extend(times)

    def end(self) -> int:
        """Most resident memory it has had, in bytes."""
        self.pipe.send(None)
        peak: int = self.pipe.recv()
        self.process.join()
        return peak


def figures(ways: Sequence[Way], rows: Sequence[int]) -> list[Figure]:
    found = []
    for n in rows:
        expected = next(way.logits[n] for way in ways if way.name == EAGER)
        for way in ways:
            times = [1e3 * each for each in way.times[n]]
            error = float(abs(way.logits[n] - expected).max() / abs(expected).max())
            found.append(Figure(way.name, n, median(times), min(times), max(times), way.first_s[n], error))
    return found


@click.command()
@click.option("--model", default="reference", show_default=True, help="A name casspec knows, or a model's directory.")
@click.option("--rows", "told", default="1,2,8,16", show_default=True, help="Tokens of a forward.")
@click.option("--rounds", type=click.IntRange(min=1), default=5, show_default=True)
@click.option(
    "--autotune/--no-autotune", default=True, help="Whether torch.compile also chooses kernels by timing them."
)
@click.option("--threads", type=int, help="CPU threads; by default all cores available.")
def main(model: str, told: str, rounds: int, autotune: bool, threads: int | None) -> None:
    """Print the table and the JSON."""
    rows = [int(each) for each in told.split(",")]
    n_threads = apply_threads(threads)
    names = [EAGER, COMPILED, *([TUNED] if autotune else []), NATIVE]
    ways = []
    try:
        for name in names:
            ways.append(Way(name, model, n_threads))
            for n in rows:
                ways[-1].run(n, 1)
    except (EOFError, CasspecError):
        raise click.ClickException(f"the process of '{names[len(ways)]}' ended; its reason stands above") from None
    for number in range(rounds):
        for way in ways if number % 2 == 0 else reversed(ways):
            for n in rows:
                way.run(n, REPEATS)
    found = figures(ways, rows)
    peaks = {way.name: way.end() for way in ways}
    print("| way | rows | ms | least | most | first, s | error |\n|---|--:|--:|--:|--:|--:|--:|")
    for each in found:
        told_times = f"{each.milliseconds:.2f} | {each.least:.2f} | {each.most:.2f} | {each.first_s:.1f}"
        print(f"| {each.way} | {each.rows} | {told_times} | {each.error:.4f} |")
    for way in ways:
        print(f"{way.name}: ready after {way.ready_s:.1f} s, at most {peaks[way.name] / 2**20:.0f} MiB")
    if not next(way for way in ways if way.name == NATIVE).is_native:
        print("native code does not run here: the row is torch's operators again")
    document = {
        "schema": 1,
        "model": model,
        "threads": n_threads,
        "torch": torch.__version__,
        "context": CONTEXT,
        "figures": [asdict(each) for each in found],
        "ready_s": {way.name: way.ready_s for way in ways},
        "peak_bytes": peaks,
        "cores": os.cpu_count(),
    }
    print(json.dumps(document))


if __name__ == "__main__":
    main()
