"""Compiles what most tests run: python -m tests.kernels. Workers that begin at once would each compile it themselves, for a minute."""

from __future__ import annotations

from itertools import product

from casspec.runtime import decode  # noqa: F401  (what it imports is compiled meanwhile)
from casspec.runtime.native import processor, program
from casspec.runtime.native.layout import BFLOAT16, FLOAT32, INT4, INT8
from casspec.runtime.native.steps import lone_linear


def main() -> None:
    """Does nothing where this processor has no native forward."""
    if processor.refusal() is not None:
        return
    for kind, quantised in product((FLOAT32, BFLOAT16), (None, INT8, INT4)):
        linear_kind = kind if quantised is None else quantised
        program.address(kind, linear_kind)
        lone_linear.address(kind, linear_kind)


if __name__ == "__main__":
    main()
