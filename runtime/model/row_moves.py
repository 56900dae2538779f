"""Moving rows of a cache on the host, in one call over all layers."""

from __future__ import annotations

import numpy as np

from casspec.runtime.compiled import compiled


def _plain(keys: np.ndarray, values: np.ndarray, source: np.ndarray, first: int) -> None:
    for rows in (keys, values):
        rows[:, first : first + len(source)] = rows[:, source]


@compiled(
    "void(int16[:, :, ::1], int16[:, :, ::1], int64[::1], int64)",
    "void(int32[:, :, ::1], int32[:, :, ::1], int64[::1], int64)",
    "void(int64[:, :, ::1], int64[:, :, ::1], int64[::1], int64)",
    plain=_plain,
)
def move_rows(keys: np.ndarray, values: np.ndarray, source: np.ndarray, first: int) -> None:
    """Copies rows `source` to those from `first` on; they may overlap.

    Args:
        keys, values: [any, rows, numbers of a row that lie together].
    """
    n = len(source)
    for rows in (keys, values):
        width = rows.shape[2]
        moved = np.empty((n, width), rows.dtype)
        for part in range(rows.shape[0]):
            for i in range(n):
                for place in range(width):
                    moved[i, place] = rows[part, source[i], place]
            for i in range(n):
                for place in range(width):
                    rows[part, first + i, place] = moved[i, place]
