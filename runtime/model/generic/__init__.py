"""The generic backend: the library's own layers, over a cache and masks of ours, for any decoder that passes the checks.

`refusals.py` names what cannot be decoded with drafts. `anatomy.py` finds the parts of a model by watching a forward, `masks.py` which
mask each layer needs. `attention.py` is what their layers attend with. `views.py` makes copies of a model in which some modules are
others, `plan_views.py` those of plans, `head.py` that of the head alone; `slot_cache.py` is the library's interface of a cache over our
rows. `linears/` has native code run a model's linears. `backend.py` runs forwards with all that; `checks.py` compares these with the
library's own at load. `limits.py` says how long a text may be, `costs.py` what the parts cost, `families.py` which families are tested.

Read `backend.py`, then `checks.py`. To add a family, put a tiny configuration into the tests and its name into `families.py`; to refuse
one, edit `refusals.py`.
"""
