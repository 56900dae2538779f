"""Charts inside the page."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from matplotlib.figure import Figure

from casspec.tuner.report_page.svg import WIDTH_INCHES, inline_svg


def test_charts_take_the_colours_of_the_page(page: str) -> None:
    drawings = "".join(re.findall(r"<svg.*?</svg>", page, re.DOTALL))
    assert "#000000" not in drawings
    assert "#ffffff" not in drawings
    assert "prefers-color-scheme: dark" in page


def drawing(name: str, alt: str = "a line") -> tuple[str, Figure]:
    figure = Figure(figsize=(12.8, 4.0))
    axes = figure.subplots()
    axes.plot([1, 2], [3, 4], label="grows")
    axes.set_title("A title")
    axes.legend()
    return inline_svg(figure, name, alt), figure


def test_a_chart_is_one_element_as_wide_as_the_page_without_its_title() -> None:
    svg, figure = drawing("one")
    root = ElementTree.fromstring(svg)
    assert root.tag.endswith("svg")
    assert tuple(figure.get_size_inches()) == (WIDTH_INCHES, 2.0)
    assert not {"width", "height"} & root.attrib.keys()
    assert "A title" not in svg
    assert "grows" in svg
    assert "<metadata" not in svg


def test_two_charts_of_a_page_share_no_id_and_a_chart_is_drawn_alike_each_time() -> None:
    (one, _), (other, _) = drawing("one"), drawing("other")
    ids = [set(re.findall(r'\bid="([^"]+)"', svg)) for svg in (one, other)]
    assert ids[0]
    assert not ids[0] & ids[1]
    referred = set(re.findall(r'(?:url\(|href=")#([\w-]+)', one))
    assert referred <= ids[0]
    assert drawing("one")[0] == one


def test_words_for_a_chart_are_no_markup() -> None:
    svg, _ = drawing("one", alt='5 < 6 & "so"')
    assert ElementTree.fromstring(svg).attrib["aria-label"] == '5 < 6 & "so"'
