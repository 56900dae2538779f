"""Searches for how other engines speculate best."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0.8.0"
down_revision = "0.7.0"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "engine_searches",
        sa.Column("subject_hash", sa.String(length=64), nullable=False),
        sa.Column("engine", sa.String(), nullable=False),
        sa.Column("started_at", sa.String(length=40), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("subject_hash", name=op.f("pk_engine_searches")),
    )
    op.create_table(
        "engine_measurements",
        sa.Column("subject_hash", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("saved_at", sa.String(length=40), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        _of_search("engine_measurements"),
        sa.PrimaryKeyConstraint("subject_hash", "kind", "key", name=op.f("pk_engine_measurements")),
    )
    op.create_table(
        "engine_trials",
        sa.Column("subject_hash", sa.String(length=64), nullable=False),
        sa.Column("concurrency", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("setting_hash", sa.String(length=64), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("predicted", sa.Double(), nullable=True),
        sa.Column("saved_at", sa.String(length=40), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        _of_search("engine_trials"),
        sa.PrimaryKeyConstraint("subject_hash", "concurrency", "setting_hash", name=op.f("pk_engine_trials")),
    )
    op.create_table(
        "engine_results",
        sa.Column("result_hash", sa.String(length=64), nullable=False),
        sa.Column("subject_hash", sa.String(length=64), nullable=False),
        sa.Column("engine", sa.String(), nullable=False),
        sa.Column("saved_at", sa.String(length=40), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        _of_search("engine_results"),
        sa.PrimaryKeyConstraint("result_hash", name=op.f("pk_engine_results")),
    )
    op.create_index(op.f("ix_engine_results_saved_at"), "engine_results", ["saved_at"], unique=False)


def _of_search(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["subject_hash"],
        ["engine_searches.subject_hash"],
        name=op.f(f"fk_{table}_subject_hash"),
        ondelete="CASCADE",
    )
