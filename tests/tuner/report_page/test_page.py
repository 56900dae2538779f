"""The page of a calibration: whole, self-contained, readable by a machine that reads aloud, and true to the store."""

from __future__ import annotations

import re
from collections import Counter

from casspec.tuner.calibration_history import CalibrationHistory
from casspec.tuner.report_page import render_page
from tests.storage import samples
from tests.tuner.report_page.pages import Read, history, profile


def test_nothing_is_loaded_from_elsewhere(page: str) -> None:
    read = Read(page)
    loading = {"script", "link", "img", "iframe", "object", "embed", "source", "image"}
    assert {tag for tag, _ in read.elements} & loading == set()
    targets = [value for _, attributes in read.elements for name, value in attributes.items() if name.endswith("href")]
    assert targets
    assert {target[0] for target in targets} == {"#"}
    assert re.findall(r"url\((?!#)|@import", page) == []


def test_references_inside_the_page_lead_to_one_place_each(page: str) -> None:
    read = Read(page)
    ids = Counter(attributes["id"] for _, attributes in read.elements if "id" in attributes)
    assert [name for name, count in ids.items() if count > 1] == []
    named = {
        value[1:] for _, attributes in read.elements for name, value in attributes.items() if name.endswith("href")
    }
    named |= set(re.findall(r"url\(#([\w-]+)\)", page))
    named |= {attributes["aria-labelledby"] for attributes in read.all("section")}
    assert named - set(ids) == set()


def test_figures_are_told_in_words_and_tables_name_their_rows_and_columns(page: str) -> None:
    read = Read(page)
    charts = [attributes for attributes in read.all("svg") if attributes.get("role") == "img"]
    assert len(charts) == len(read.all("svg")) == 8
    assert min(len(attributes["aria-label"]) for attributes in charts) > 40
    assert {attributes.get("scope") for attributes in read.all("th")} == {"col", "row"}
    assert len(read.all("caption")) == len(read.all("table"))


def test_the_page_tells_what_the_store_knows(page: str) -> None:
    text = Read(page).text
    for expected in (
        "tiny on test processor, float32",
        "Decision: cascade",
        "int8-dynamic is not offered to drafters: no kernel beats the target's own.",
        "sparse-40 in the cascade",
        "greedy overall 1.50× – 1.60× -6.2%",
        "greedy qa – – 1.20× –",
        "3 drafters were evaluated",
        "casspec calibrate tiny --dtype float32 --threads 2 --suite reference --seed 3 --trials 12 casspec bench --methods dytc",
        "max_nodes 16",
    ):
        assert expected in text, expected
    assert "int4-weight is not offered" not in text


def test_names_are_no_markup() -> None:
    page = render_page(history(model=samples.model(name="<script>alert(1)</script>"), suite="a & b"))
    assert Read(page).all("script") == []
    assert "a & b, seed 0" in Read(page).text


def test_an_imported_profile_has_a_page_of_what_it_brings() -> None:
    text = Read(render_page(CalibrationHistory(profile(decision="off", predicted_speedup={})))).text
    assert "Decision: off" in text
    assert "This profile was imported" in text
    assert "Pareto" not in text
