"""The lean forward: ours from the embedding to the logits, for the families in `families.py`.

`backend.py` joins what follows. `weights.py` reads a model's weights, fused in place, `rotary.py` its frequencies. `native_forward.py`
runs a forward in `runtime/native/` over `packed_weights.py`, `eager_forward.py` by torch's operators. `quantization.py` packs the
weights of quantised plans for torch's `kernels.py` or the native `tiled_kernels.py`.

Read `backend.py`, then `eager_forward.py`. To add a family, edit `families.py`; to add a precision, `quantization.py`; a kernel,
`kernels.py` or `tiled_kernels.py`.
"""
