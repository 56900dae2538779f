"""The filter against loops decodes as the library does."""

from __future__ import annotations

import torch

from casspec.tuner.suites.repetition import repetition


def test_greedy_filter_agrees_with_the_librarys_own_generate():
    from casspec.tuner.suites.reference.loop_filter import GreedyFilter

    torch.set_num_threads(1)
    judge = GreedyFilter(continuation_tokens=32, max_repetition=0.5)
    prompts = [
        judge.token_ids(text)
        for text in ("def add(a, b):\n    return", "import os\nimport sys\n\n\nclass", "x = [1, 2")
    ]
    expected = []
    for ids in prompts:
        output = judge.model.generate(torch.tensor([ids]), max_new_tokens=32, do_sample=False)[0, len(ids) :].tolist()
        share = repetition(output)
        expected.append(None if share > 0.5 or 0 in output else share)
    assert judge.judge(prompts) == expected
    assert [judge.judge([ids])[0] for ids in prompts] == expected
