"""The model with its switches: one lean forward for the target and for every plan of it.

`families.py` says which model families are covered. `weights.py` reads their weights, fused in place. `plan.py` is which sub-layers
run and at which precision, `quantization.py` the packed weights of quantised plans and the kernels that read them. `kv_cache.py` is
the cache, `inputs.py` the tensors of a forward, `target.py` the forward itself.

Read `plan.py`, then `target.py`. To add a family, edit `families.py`; to add a precision or a kernel, `quantization.py`.
"""
