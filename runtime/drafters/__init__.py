"""What methods draft with. A drafter proposes; it never decides what is emitted.

Retrieval: `prompt_lookup.py` n-grams of the text, `token_recycling.py` and `mean_recycling.py` the target's successors of a token,
`retrieval.py` both joined in a tree by the compiled `retrieval_passes.py`, `suffix.py` and `max_gram.py` suffixes of the text,
`text_chains.py` chains for other engines, whose cells `chain_trials.py` scores. The target as drafter: `review.py` a plan that judges
a chain, `layouts.py` fixed trees. Skip sets found while decoding: `skip_search.py` (SWIFT) and `knapsack.py` (KnapSpec).

Read `prompt_lookup.py`, then `retrieval.py`. To add a drafter, write a module here with `begin`, a way to learn and one to propose;
a policy in `runtime/policies/` uses it.
"""
