"""A model of your own, from a local directory: what decoding it does and how long that takes.

    python examples/own_model.py [DIRECTORY] [PROMPT]

DIRECTORY holds a causal language model as transformers saves it (`save_pretrained`), with its tokenizer; without one the bundled
model decodes. No profile is loaded, so the cascade runs on built-in priors. `casspec calibrate DIRECTORY` measures the device and
searches for drafters; `casspec.load_profile("latest")`, given to the decoder, is what it found.
"""

from __future__ import annotations

import sys

import casspec
from casspec.reference import reference_path

PROMPT = "class Stack:\n    def __init__(self):\n        self.items = []\n\n    def push(self, item):\n"


def main(directory: str = str(reference_path()), prompt: str = PROMPT) -> None:
    target = casspec.load_target(directory)
    if target.tokenizer is None:
        sys.exit(f"{directory} holds no tokenizer: give the decoder token ids of your own")
    generation = casspec.Decoder(target).generate(target.tokenizer.encode(prompt), max_new_tokens=96)
    print(prompt + target.tokenizer.decode(generation.token_ids, skip_special_tokens=True))

    did = generation.statistics
    print(f"\n{target.family} model, {target.n_layers} layers, {target.dtype}")
    print(f"{did.emitted_tokens} tokens in {did.decode_ms:.0f} ms, after {did.prefill_ms:.0f} ms for the prompt")
    print(f"{did.verify_steps} forwards of the model, {did.mean_acceptance_length:.2f} tokens from each")
    for drafter, accepted in sorted(did.accepted_by.items()):
        print(f"{drafter}: {accepted} of {did.drafted_by[drafter]} drafted tokens accepted")


if __name__ == "__main__":
    main(*sys.argv[1:3])
