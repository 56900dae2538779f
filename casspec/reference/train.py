"""Trains a small Llama on Python source by the recipe of the bundled model: `casspec reference train`.

One pass of the loop draws 8 windows of 1,024 tokens, computes in bfloat16 and updates float32 master copies. Progress
through the learning-rate schedule is the share of the time budget that is used up, so that any budget ends with a
finished model. Windows depend on (seed, step) alone: a training that was interrupted goes on as if it had not been.
"""

from __future__ import annotations

import json
import platform
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer

from casspec.reference import WEIGHTS_FILE, model_name, reference_path, weights_sha256
from casspec.reference.checkpoint import interruption, load_checkpoint, remove_checkpoint, save_checkpoint
from casspec.reference.corpus import END_OF_TEXT, Corpus, encode, train_tokenizer
from casspec.reference.optimizer import MasterOptimizer
from casspec.storage.errors import UnsupportedOption

SECONDS_BETWEEN_CHECKPOINTS = 120.0
REPORTS = 50
"""Reports, each with a held-out loss, over the whole budget."""
HELDOUT_WINDOWS = 16


@dataclass(frozen=True, slots=True)
class Recipe:
    """Sizes of the model and of a step; the defaults are those of the bundled model."""

    layers: int = 12
    hidden_size: int = 256
    heads: int = 4
    mlp_size: int = 704
    vocabulary: int = 4096
    context_tokens: int = 2048
    window_tokens: int = 1024
    windows_per_step: int = 8
    seed: int = 0


BUNDLED_RECIPE = Recipe()


@dataclass(frozen=True, slots=True)
class Budget:
    """When training ends: after so many minutes of training time, or so many steps where given."""

    minutes: float
    steps: int | None = None

    def progress(self, step: int, seconds: float) -> float:
        """Share used up, 1 at the end."""
        return min(1.0, step / self.steps if self.steps is not None else seconds / (60 * self.minutes))


@dataclass(frozen=True, slots=True)
class TrainingReport:
    """How far a training is; losses in nats a token."""

    progress: float
    step: int
    tokens_seen: int
    seconds: float
    training_loss: float
    heldout_loss: float


def train(
    corpus: Corpus,
    out: Path,
    budget: Budget,
    recipe: Recipe = BUNDLED_RECIPE,
    device: str = "cpu",
    on_report: Callable[[TrainingReport], None] = lambda report: None,
) -> TrainingReport:
    """Trains into the directory `out`, going on from a checkpoint found there; returns the last report.

    Ctrl-C saves a checkpoint, then raises KeyboardInterrupt. Raises UnsupportedOption when `out` already holds a
    finished model, or a checkpoint made with another recipe or corpus.
    """
    if (out / WEIGHTS_FILE).exists():
        raise UnsupportedOption(f"{out} already holds a model: choose another --out")
    settings = {**asdict(recipe), "corpus": corpus.digest()}
    state = load_checkpoint(out, settings)
    if state is None:
        tokenizer = train_tokenizer(corpus.library, recipe.vocabulary)
        tokens, heldout = encode(corpus.training, tokenizer), encode(corpus.heldout, tokenizer)
        state = {"settings": settings, "tokenizer": tokenizer.to_str(), "tokens": tokens, "heldout": heldout}
        state |= {"step": 0, "seconds": 0.0, "training_loss": float("nan")}
    tokens, heldout = state["tokens"], state["heldout"]
    for name, text in (("training", tokens), ("held-out", heldout)):
        if len(text) <= recipe.window_tokens:
            raise UnsupportedOption(f"{len(text)} {name} tokens do not fill a window of {recipe.window_tokens}")

    model = _new_model(recipe).to(device)
    optimizer = MasterOptimizer(model)
    if optimizer_state := state.pop("optimizer", None):
        optimizer.load_state_dict(optimizer_state)

    def save() -> None:
        save_checkpoint(out, state | {"optimizer": optimizer.state_dict()})

    def report() -> TrainingReport:
        latest = TrainingReport(
            progress=budget.progress(state["step"], state["seconds"]),
            step=state["step"],
            tokens_seen=state["step"] * recipe.windows_per_step * recipe.window_tokens,
            seconds=state["seconds"],
            training_loss=state["training_loss"],
            heldout_loss=heldout_loss(model, heldout, recipe.window_tokens),
        )
        on_report(latest)
        return latest

    save()
    saved_at = time.monotonic()
    reported = int(REPORTS * budget.progress(state["step"], state["seconds"]))
    with interruption() as interrupted:
        while (progress := budget.progress(state["step"], state["seconds"])) < 1:
            began = time.monotonic()
            windows = _windows(tokens, recipe, state["step"]).to(device)
            loss = _loss(model, windows)
            loss.backward()
            optimizer.step(progress)
            state["training_loss"] = loss.item()
            state["step"] += 1
            state["seconds"] += time.monotonic() - began
            if interrupted.is_set():
                save()
                raise KeyboardInterrupt
            if time.monotonic() - saved_at > SECONDS_BETWEEN_CHECKPOINTS:
                save()
                saved_at = time.monotonic()
            if int(REPORTS * progress) > reported:
                reported = int(REPORTS * progress)
                report()
    last = report()
    _write_model(out, model, state["tokenizer"], corpus, last)
    remove_checkpoint(out)
    return last


@torch.inference_mode()
def heldout_loss(model: torch.nn.Module, heldout: torch.Tensor, window_tokens: int) -> float:
    """Mean loss, nats a token, over windows spread evenly through the held-out text."""
    device = next(model.parameters()).device
    n_windows = min(HELDOUT_WINDOWS, len(heldout) // window_tokens)
    starts = torch.linspace(0, len(heldout) - window_tokens, n_windows).long().tolist()
    losses = [_loss(model, heldout[None, start : start + window_tokens].long().to(device)) for start in starts]
    return torch.stack(losses).mean().item()


def _loss(model: Any, windows: torch.Tensor) -> torch.Tensor:
    """Next-token loss of [windows, tokens] ids, computed in float32."""
    logits = model(input_ids=windows, use_cache=False).logits[:, :-1]
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1).float(), windows[:, 1:].flatten())


def _windows(tokens: torch.Tensor, recipe: Recipe, step: int) -> torch.Tensor:
    """The windows of one step, [windows, tokens]; a function of seed and step."""
    generator = torch.Generator().manual_seed((recipe.seed << 32) + step)
    starts = torch.randint(len(tokens) - recipe.window_tokens, (recipe.windows_per_step,), generator=generator)
    return torch.stack([tokens[start : start + recipe.window_tokens] for start in starts.tolist()]).long()


def _new_model(recipe: Recipe) -> Any:
    config = transformers.LlamaConfig(
        vocab_size=recipe.vocabulary,
        hidden_size=recipe.hidden_size,
        intermediate_size=recipe.mlp_size,
        num_hidden_layers=recipe.layers,
        num_attention_heads=recipe.heads,
        num_key_value_heads=recipe.heads,
        max_position_embeddings=recipe.context_tokens,
        tie_word_embeddings=True,
        bos_token_id=0,
        eos_token_id=0,
        pad_token_id=0,
    )
    torch.manual_seed(recipe.seed)
    return transformers.LlamaForCausalLM(config).bfloat16()


def _write_model(out: Path, model: Any, tokenizer: str, corpus: Corpus, last: TrainingReport) -> None:
    """Everything a model directory needs; the weights go in last, as they mark it as finished."""
    special = {"bos_token": END_OF_TEXT, "eos_token": END_OF_TEXT, "pad_token": END_OF_TEXT}
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(tokenizer), **special)
    unfinished = out / "unfinished"
    fast.save_pretrained(unfinished)
    model.save_pretrained(unfinished)
    shutil.copyfile(reference_path() / "heldout_modules.txt", unfinished / "heldout_modules.txt")
    facts = {
        "name": model_name(unfinished),
        "weights_sha256": weights_sha256(unfinished),
        "parameters": sum(weight.numel() for weight in model.parameters()),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "corpus": _described(corpus),
        "tokens_seen": last.tokens_seen,
        "seconds": round(last.seconds),
        "heldout_loss": round(last.heldout_loss, 4),
    }
    (unfinished / "training.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    for file in sorted(unfinished.iterdir(), key=lambda file: file.name == WEIGHTS_FILE):
        file.replace(out / file.name)
    unfinished.rmdir()


def _described(corpus: Corpus) -> dict[str, int]:
    groups: dict[str, Sequence[Path]] = {"library_files": corpus.library, "other_files": corpus.others}
    return {name: len(files) for name, files in (groups | {"heldout_files": corpus.heldout}).items()}
