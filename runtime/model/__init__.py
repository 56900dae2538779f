"""The model with its switches: one forward for the target and for every plan of it.

`plan.py` is which sub-layers run and at which precision. `forward_input.py` is what a forward is given, `inputs.py` makes it;
`joint_input.py` is the same of several sequences. On a device what is asked stays on the host (`device_input.py`) until it is sent
(`upload.py`) to where a forward reads it (`staging.py`); `transfers.py` is what crosses.
`kv_cache.py` is the cache. `backend.py` says what runs a forward: `lean/` is a forward of ours, `generic/` the library's own layers;
`graphs/` captures forwards on CUDA. `target.py` joins them. `tree_check.py` compares what a backend says over a tree with what the
library says, `row_check.py` measures whether a row's result depends on the rows beside it.

Read `plan.py`, then `target.py`. To add a way to run forwards, give it a folder with a `Backend`.
"""
