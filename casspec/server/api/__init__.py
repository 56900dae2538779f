"""The endpoints: what they take, and what they answer.

`fields.py` has what requests share, `messages.py` a conversation; `options.py` makes options of the engine of them. Fields that are not
named there are refused by name. `formats.py` has what a text may have to be, `tools.py` what it may call. `completions.py`, `chat.py` and
the folder `responses` are an endpoint each; `answering.py` is the way that all of them go, whole or as a stream. `logprobs.py` and
`usage.py` write what stands beside texts. `tokenizing.py` is /tokenize and /detokenize.

Read `answering.py`, then `completions.py`. To add a field, edit `fields.py` and `options.py`.
"""
