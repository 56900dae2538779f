"""The model with its switches: one lean forward for the target and for every plan of it.

`families.py` says which model families are covered and how large a model is. `weights.py` reads its weights, fused in place.
`plan.py` is which sub-layers run and at which precision. `forward_input.py` is what a forward is given, `inputs.py` makes it.
`kv_cache.py` is the cache. `native_forward.py` runs a forward in `runtime/native/` over
`packed_weights.py`, `eager_forward.py` by torch's operators; `target.py` joins them. `quantization.py` packs the weights of quantised
plans for torch's `kernels.py` or the native `tiled_kernels.py`. `row_check.py` measures whether a row's result depends on the rows
beside it.

Read `plan.py`, then `target.py`. To add a family, edit `families.py`; to add a precision, `quantization.py`; a kernel, `kernels.py` or
`tiled_kernels.py`.
"""
