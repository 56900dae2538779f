"""Fenced leases; a calibration's `key` is called what it is, and what is slow `slowdown`, and skip sets to start from `starting_plans`."""

from __future__ import annotations

import json

import sqlalchemy as sa
from alembic import op

revision = "0.2.0"
down_revision = "0.1.0"
branch_labels = None
depends_on = None

RENAMED = {"pace": "slowdown", "plain_pace": "plain_slowdown"}
"""Fields of LatencySample, and of what a step costs beside its forwards."""

RENAMED_STAGES = ("latency-retest", "overhead")
"""Stage documents of these kinds hold such fields."""


def upgrade() -> None:
    op.create_table(
        "leases",
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("owner", sa.String(), nullable=True),
        sa.Column("fencing", sa.Integer(), nullable=False),
        sa.Column("taken_at", sa.Double(), nullable=False),
        sa.Column("heartbeat_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("kind", "key", name=op.f("pk_leases")),
    )
    with op.batch_alter_table("calibrations") as batch:
        batch.drop_constraint(op.f("uq_calibrations_key"), type_="unique")
        batch.alter_column("key", new_column_name="settings_hash")
    with op.batch_alter_table("calibrations") as batch:  # only now the table that is rebuilt has the column
        batch.create_unique_constraint(op.f("uq_calibrations_settings_hash"), ["settings_hash", "attempt"])
    op.create_table(  # and not renamed: its constraint is called after it
        "starting_plans",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("n_layers", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("skip_set", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", "n_layers", name=op.f("pk_starting_plans")),
    )
    op.execute("INSERT INTO starting_plans SELECT name, n_layers, skip_set FROM search_seeds")
    op.drop_table("search_seeds")
    samples = sa.table("latency_samples", *map(sa.column, ("calibration_id", "point", "document")))
    stages = sa.table("stage_documents", *map(sa.column, ("calibration_id", "kind", "key", "document")))
    _rename_fields(samples, sa.true())
    _rename_fields(stages, stages.c.kind.in_(RENAMED_STAGES))


def _rename_fields(table: sa.TableClause, chosen: sa.ColumnElement[bool]) -> None:
    """Renames fields at the top of the chosen documents, which stay canonical."""
    connection = op.get_bind()
    names = [column for column in table.c if column.name != "document"]
    for row in connection.execute(sa.select(table).where(chosen)).mappings().all():
        content = json.loads(row["document"])
        if isinstance(content, dict) and RENAMED.keys() & content.keys():
            renamed = {RENAMED.get(name, name): value for name, value in content.items()}
            document = json.dumps(renamed, sort_keys=True, separators=(",", ":"))
            same = sa.and_(*(column == row[column.name] for column in names))
            connection.execute(sa.update(table).where(same).values(document=document))
