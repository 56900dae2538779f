"""The model with its switches: one lean forward for the target and for every plan of it.

`families.py` says which model families are covered. `weights.py` reads their weights, fused in place, and `dimensions.py` their sizes.
`plan.py` is which sub-layers run and at which precision. `forward_input.py` is what a forward is given, `inputs.py` makes it.
`kv_cache.py` is the cache. `native_forward.py` runs a forward in `runtime/native/` over `packed_weights.py`, `eager_forward.py` by torch's
operators; `target.py` joins them. `quantization.py` has the weights of quantised plans and the kernels that read them. `row_check.py`
measures whether a row's result depends on the rows beside it.

Read `plan.py`, then `target.py`. To add a family, edit `families.py`; to add a precision or a kernel, `quantization.py`.
"""
