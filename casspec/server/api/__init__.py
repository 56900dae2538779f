"""The endpoints: what they take, and what they answer.

`fields.py` has what requests share, `messages.py` a conversation; `options.py` makes options of the engine of them. Fields that are not
named there are refused by name. `formats.py` has what a text may have to be, `tools.py` what a chat may call. `completions.py`,
`chat.py` and `responses.py` are an endpoint each, with `response_events.py` for the stream of the last; `answering.py` is the way that
all of them go, whole or as a stream. `logprobs.py` and `usage.py` write what stands beside texts. `tokenizing.py` is /tokenize and
/detokenize.

Read `answering.py`, then `completions.py`. To add a field, edit `fields.py` and `options.py`.
"""
