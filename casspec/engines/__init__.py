"""What other engines import: drafts made inside their process. Only drafters and documents are needed, no model.

`vllm.py` has the classes that vLLM's `method: custom_class` names. `row_texts.py` tells which text a row of its batch is,
`latencies.py` what a step costs, `draft_lengths.py` how many tokens pay, `result.py` reads what was measured beforehand. The chains
themselves are made in `runtime/drafters/text_chains.py`.

Read `vllm.py`, then `draft_lengths.py`. To add an engine, write a module here with the class that the engine builds.
"""
