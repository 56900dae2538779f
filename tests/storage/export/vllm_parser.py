"""Asks vLLM what it makes of speculative configurations, without starting it. Run by the interpreter of its environment.

    python vllm_parser.py MODEL < CONFIGURATIONS

Standard input is a JSON array of configurations. The last line of stdout is one of what each comes to: the fields that vLLM has filled in,
and `lengths`, the drafted tokens at 1, 2 ... `MOST` requests at a time, or `error`.
"""

from __future__ import annotations

import json
import sys
from typing import Any

MOST = 40
SHOWN = ("method", "model", "num_speculative_tokens", "prompt_lookup_min", "prompt_lookup_max")


def parsed(model: str, configuration: dict[str, Any]) -> dict[str, Any]:
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.utils.argparse_utils import FlexibleArgumentParser
    from vllm.v1.spec_decode.dynamic.utils import build_dynamic_sd_schedule_lookup

    parser = AsyncEngineArgs.add_cli_args(FlexibleArgumentParser())
    words = ["--model", model, "--max-model-len", "512", "--speculative-config", json.dumps(configuration)]
    whole = AsyncEngineArgs.from_cli_args(parser.parse_args(words)).create_engine_config()
    found = whole.speculative_config
    lengths = [found.num_speculative_tokens] * MOST
    if found.uses_dynamic_speculative_decoding():
        table = found.num_speculative_tokens_per_batch_size
        lengths = build_dynamic_sd_schedule_lookup(table, MOST, found.num_speculative_tokens)[1:]
    return {name: getattr(found, name) for name in SHOWN} | {"lengths": lengths}


def main() -> None:
    told = []
    for configuration in json.load(sys.stdin):
        try:
            told.append(parsed(sys.argv[1], configuration))
        except (Exception, SystemExit) as error:
            told.append({"error": f"{type(error).__name__}: {error}"})
    print(json.dumps(told))


if __name__ == "__main__":
    main()
