"""What a request asks of its text, whatever decodes it.

`request.py` has all options. `adjustments.py` does what depends on the text so far: penalties, biases, tokens that may not come;
`sampling.py` what does not: temperature and the tokens left out. `stopping.py` ends a text at a string, `detokenize.py` makes text of
tokens as they come, `logprobs.py` tells probabilities, `prompt_logprobs.py` those of a prompt that is read and not decoded. `chat.py` makes
tokens of a conversation.
`grammar.py` is what a whole text has to follow; `compiled_grammars.py` makes it ready for a tokenizer, `grammar_state.py` follows it along
a text and the paths of a tree.

Read `request.py`. To add an option that looks at the text, edit `adjustments.py`; to add a way to sample, `sampling.py`.
"""
