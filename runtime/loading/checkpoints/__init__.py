"""Checkpoints as people have them, made into the library's model of one text: refused in one line, or read as this package says.

`directories.py` looks at what lies there before anything is read. `text_part.py` finds the language model in a multimodal checkpoint,
`quantised.py` says which quantised weights can be read and whether plain ones come of it. `adapters.py` merges a LoRA into what was loaded.

To add a multimodal family, list it in `text_part.py` and give its test a tiny configuration; to add a way of quantising, add a row of
`METHODS` in `quantised.py`.
"""
