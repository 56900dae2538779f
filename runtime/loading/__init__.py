"""Models and profiles from where they lie, and one line where there is none or none that fits.

Read `models.py`, which loads a model; `gguf.py` is what differs where it is one file, `checkpoints/` where a directory holds more or other
than plain weights. `names.py` has what a model with an adapter goes by. `fingerprint.py` says which model it is, `device.py`
on which device; `profile_check.py` compares both with a profile, and `profiles.py` makes a profile ready to decode with.
`generation_defaults.py` reads what a model's own generation config asks of every text.

To add a file format of models, give it a module like `gguf.py` and its place in `models.py`.
"""
