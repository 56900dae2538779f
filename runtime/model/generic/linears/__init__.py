"""The linears of a library model, run by native calls instead of torch: everything between them stays the library's.

`found.py` finds those that can be run so, `packed.py` packs them and lets the library's own weights go; `quantised.py` packs them in few
bits for quantised plans.
"""
