"""How numbers lie in memory: what weights, levels and rows are padded to and made of; what goes by number. Nothing here is compiled."""

from __future__ import annotations

from casspec.runtime.native import processor

FLOAT32, BFLOAT16, FLOAT16, INT8, INT4 = range(5)
"""How a weight or a cached row is stored."""

BYTES = {FLOAT32: 4, BFLOAT16: 2, FLOAT16: 2}
"""Of one number."""

SILU, GELU_TANH, GELU = range(3)
"""Activations of the MLP."""

LANES = processor.lanes()
"""Numbers of a vector."""

STEP = 2
"""Vectors of outputs that threads share out: packed weights come in multiples of them."""

TOTALS = 16
"""Sums of softmax that a thread keeps behind its parts: more than a block has rows, spare ones included."""

SPARE_ROWS = 12
"""Rows past the last that a tile may read and write."""

GROUP = 32
"""Inputs that share a scale and a centre in 4 bits."""

QUADS = GROUP // 8
"""Vectors of a group: each lane holds eight values of four bits."""

GROUP_BYTES = QUADS * 4 * LANES + 2 * 2 * LANES
"""Of a group of LANES outputs: the values, then their scales and centres in bfloat16."""

ENTRY_BYTES = 16
"""Of what is known of one group of a row of activations."""
