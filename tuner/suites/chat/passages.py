"""Passages for a request to be about: pages of the running interpreter's own documentation, which `help()` shows.

None of the text is shipped. Its wording differs a little from one Python to the next.
"""

from __future__ import annotations

from functools import cache

MOST_WORDS = 600
"""Longer pages are cut behind the last paragraph that fits: about 1,250 tokens at most."""


def passage(topic: str) -> str | None:
    """The page on `topic`, in whole paragraphs of at most MOST_WORDS words; None where this interpreter has none."""
    page = _topics().get(topic)
    return opening(page, MOST_WORDS) if page else None


def opening(text: str, most_words: int) -> str:
    """The first paragraphs of `text` that have at most `most_words` words together, at least one."""
    first, *others = text.strip().split("\n\n")
    kept, words = [first], len(first.split())
    for paragraph in others:
        words += len(paragraph.split())
        if words > most_words:
            break
        kept.append(paragraph)
    return "\n\n".join(kept).rstrip()


@cache
def _topics() -> dict[str, str]:
    """Pages by topic. Some distributions leave them out."""
    try:
        from pydoc_data.topics import topics
    except ImportError:
        return {}
    return dict(topics)
