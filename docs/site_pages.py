"""Pages of the site that stand outside docs/: the README becomes its front page, and links follow every page to where it stands there."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parent.parent
PLACES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "casspec/reference/MODEL_CARD.md": "model_card.md",
    "LICENSE": "LICENSE",
}
"""Files of the repository outside docs/, and where the site has them."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the files of PLACES."""
    for source, place in PLACES.items():
        files.append(File.generated(config, place, abs_src_path=str(ROOT / source)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links between files of the repository become links between pages of the site."""
    place = page.file.src_uri
    source = next((name for name, other in PLACES.items() if other == place), f"docs/{place}")
    return re.sub(
        r"\]\(([^)#\s]+)((?:#[^)]*)?)\)", lambda link: f"]({moved(link[1], source, place)}{link[2]})", markdown
    )


def moved(link: str, source: str, place: str) -> str:
    """A link as the page at `place` has to write it, from a link in the file `source`. Addresses elsewhere stay."""
    if "://" in link:
        return link
    target = posixpath.normpath(posixpath.join(posixpath.dirname(source), link))
    target = PLACES.get(target, target.removeprefix("docs/"))
    return posixpath.relpath(target, posixpath.dirname(place) or ".")
