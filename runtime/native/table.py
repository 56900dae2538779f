"""The tables of numbers (int64) that a forward, or one linear of it, runs over: which entry is what."""

from __future__ import annotations

from enum import IntEnum, auto

MEETING_BYTES, MET_BYTE = 128, 64
"""Of a place where threads meet: how many are there (int32), and on a line of its own how often they met."""


class Entries(IntEnum):
    """Places that follow each other from zero on."""

    @staticmethod
    def _generate_next_value_(name: str, start: int, count: int, last_values: list[int]) -> int:
        return count


class Slot(Entries):
    """Entries of the table. Addresses are of float32 rows unless said otherwise."""

    # The model.
    HIDDEN = auto()
    HEADS = auto()
    KEY_HEADS = auto()
    HEAD_DIM = auto()
    INNER = auto()  # columns of the gates, padded
    QKV = auto()  # columns of queries, keys and values, padded
    EPSILON = auto()  # the bits of a float32
    SCALE = auto()  # of attention scores, the bits of a float32
    ROTATED = auto()  # dimensions of a head that are rotated, its first ones
    SCORE_CAP = auto()  # the bits of a float32, 0 for none
    LOGIT_CAP = auto()  # the bits of a float32, 0 for none
    ACTIVATION = auto()  # of the MLP, see `layout.py`
    EMBEDDING = auto()
    EMBEDDING_PACKED = auto()  # whether it is the packed head
    EMBEDDING_SCALE = auto()  # the bits of a float32, 0 for none
    LAYERS = auto()  # int64 [layer][Layer]
    FINAL_NORM = auto()
    HEAD = auto()
    HEAD_COLUMNS = auto()  # padded
    VALUE_WIDTH = auto()  # numbers of a cached value, padded
    # The input.
    N_ROWS = auto()  # of all extents
    EXTENTS = auto()  # int64 [N_EXTENTS][Extent]
    N_EXTENTS = auto()
    TOKENS = auto()  # int64 [N_ROWS]
    POSITIONS = auto()  # int64 [N_ROWS]
    ROWS = auto()  # int64 [N_ROWS], in the cache of the extent
    # What runs.
    STEPS = auto()  # int64 [N_STEPS][3]: layer, whether attention runs, whether the MLP does
    N_STEPS = auto()
    EMBEDS = auto()  # whether X is made from tokens; it is given otherwise
    ENDS = auto()  # whether the final norm is taken of the rows wanted
    WANTED = auto()  # int64 [N_WANTED] rows, 0 for all
    N_WANTED = auto()
    LOGITS = auto()  # [N_WANTED][HEAD_COLUMNS], 0 for none
    MEETING = auto()  # where threads wait for each other, MEETING_BYTES
    # Memory to work in, each with SPARE_ROWS rows more than there are queries.
    X = auto()  # [rows][HIDDEN], the residual stream
    NORMED = auto()  # [rows][HIDDEN]
    JOINT = auto()  # [rows][QKV]
    TURNED = auto()  # [extent][key head][queries * group][HEAD_DIM]
    MIXED = auto()  # [rows][HEADS * HEAD_DIM]
    GATES = auto()  # [rows][2 * INNER]
    ADDED = auto()  # [rows][hidden, padded]
    ADDED_COLUMNS = auto()
    SCORES = auto()  # a thread: [12][longest extent]
    SCORE_BYTES = auto()  # of a thread
    PARTS = auto()  # a thread: [12][VALUE_WIDTH] and [12] totals
    PART_BYTES = auto()
    LEVELS = auto()  # uint8 [rows][LEVEL_BYTES], inputs of linears in 8 and 4 bits
    LEVEL_BYTES = auto()
    ENTRIES = auto()  # [rows][ENTRY_BYTES], what is known of them
    ENTRY_BYTES = auto()


class Extent(Entries):
    """Entries of the rows of one sequence, which follow each other, and of the cache they write and see."""

    FIRST = auto()  # row
    QUERIES = auto()
    KEYS = auto()  # [layer][key head][HEAD_DIM][CACHE_ROWS]
    VALUES = auto()  # [layer][key head][CACHE_ROWS][VALUE_WIDTH]
    CACHE_ROWS = auto()
    BEGIN = auto()  # cache row of the first slot that is seen
    LENGTH = auto()  # slots
    MASK = auto()  # [QUERIES][LENGTH]
    MASK_ROW = auto()  # bytes
    WINDOW_MASK = auto()  # of layers with a window
    WINDOW_ROW = auto()  # bytes


class Layer(Entries):
    """Entries of a layer's row: addresses; 0 where there is none."""

    WINDOWED = auto()  # whether its mask is the extents' WINDOW_MASK
    ANGLES = auto()  # [position][ROTATED]: cosines, then sines
    ATTENTION_NORM = auto()
    JOINT = auto()
    JOINT_BIAS = auto()
    QUERY_NORM = auto()
    KEY_NORM = auto()
    OUTPUT = auto()
    OUTPUT_BIAS = auto()
    OUTPUT_NORM = auto()  # of what attention gives
    MLP_NORM = auto()
    GATES = auto()
    GATES_BIAS = auto()
    DOWN = auto()
    DOWN_BIAS = auto()
    DOWN_NORM = auto()  # of what the MLP gives


class Lone(Entries):
    """Entries of the table of a linear by itself: addresses and sizes."""

    MEMORY = auto()  # a table of Slot: MEETING, NORMED, LEVELS, ENTRIES and PARTS of it are worked in
    GIVEN = auto()  # [ROWS][INPUTS] of the kind that the model computes in
    OUT = auto()  # [ROWS][OUTPUTS] likewise
    ROWS = auto()
    INPUTS = auto()
    OUTPUTS = auto()
    COLUMNS = auto()  # outputs, padded
    WEIGHT = auto()
    BIAS = auto()  # float32 [COLUMNS], 0 for none
