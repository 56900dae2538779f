"""Rows written once or over, and values that are equal however they are written."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from casspec.storage.database.connection import Database
from casspec.storage.database.rows import canonical_json, insert_once, insert_or_replace, now, sha256_of
from casspec.storage.database.tables import StartingPlanRow
from tests.storage.samples import parameter_maps


def kept(database: Database) -> list[tuple[str, int, str]]:
    with database.reading() as session:
        rows = session.scalars(select(StartingPlanRow).order_by(StartingPlanRow.name, StartingPlanRow.n_layers))
        return [(row.name, row.n_layers, row.skip_set) for row in rows]


def test_a_row_inserted_once_keeps_its_first_values(database: Database) -> None:
    for value in ("first", "second"):
        with database.writing() as session:
            insert_once(session, StartingPlanRow, name="a", n_layers=8, skip_set=value)
    assert kept(database) == [("a", 8, "first")]


def test_a_replaced_row_has_the_last_values_and_others_keep_theirs(database: Database) -> None:
    for n_layers, value in ((8, "first"), (12, "other"), (8, "second")):
        with database.writing() as session:
            insert_or_replace(session, StartingPlanRow, {"name": "a", "n_layers": n_layers}, skip_set=value)
    assert kept(database) == [("a", 8, "second"), ("a", 12, "other")]


@given(parameter_maps, st.randoms())
def test_equal_values_have_one_text_and_one_hash(values: dict, random) -> None:
    shuffled = list(values.items())
    random.shuffle(shuffled)
    assert canonical_json(dict(shuffled)) == canonical_json(values)
    assert sha256_of(dict(shuffled)) == sha256_of(values)
    assert json.loads(canonical_json(values)) == values
    assert sha256_of(values | {"one more": 1}) != sha256_of(values)


def test_times_sort_as_they_passed() -> None:
    times = [now() for _ in range(50)]
    assert times == sorted(times)
    assert len({len(time) for time in times}) == 1
    assert all(time.endswith("+00:00") for time in times)
