"""The target's best successors of a token: what verification keeps of its logits and drafters recycle."""

from __future__ import annotations

TOP_SUCCESSORS = 8
"""Kept of every token (Token Recycling, Luo et al. 2024: 8)."""

SuccessorRow = tuple[list[int], list[float]]
"""Token ids and raw logits of the top successors, best first."""
