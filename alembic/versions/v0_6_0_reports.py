"""Reports of servers, and the re-calibrations that drift led to."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0.6.0"
down_revision = "0.5.0"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "server_reports",
        sa.Column("server", sa.String(), nullable=False),
        sa.Column("profile_hash", sa.String(length=64), nullable=False),
        sa.Column("received_at", sa.String(length=40), nullable=False),
        sa.Column("says_drift", sa.Boolean(), nullable=False),
        sa.Column("suite_sha256", sa.String(length=64), nullable=True),
        sa.Column("document", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("server", "profile_hash", "received_at", name=op.f("pk_server_reports")),
    )
    columns = ["profile_hash", "received_at"]
    op.create_index(op.f("ix_server_reports_profile_hash"), "server_reports", columns, unique=False)
    op.create_index(op.f("ix_server_reports_received_at"), "server_reports", ["received_at"], unique=False)
    op.create_table(
        "recalibrations",
        sa.Column("recalibration_id", sa.String(), nullable=False),
        sa.Column("profile_hash", sa.String(length=64), nullable=False),
        sa.Column("model_hash", sa.String(length=64), nullable=False),
        sa.Column("device_hash", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("began_at", sa.String(length=40), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("recalibration_id", name=op.f("pk_recalibrations")),
    )
    op.create_index(op.f("ix_recalibrations_model_hash"), "recalibrations", ["model_hash", "device_hash"], unique=False)
    op.create_index(op.f("ix_recalibrations_state"), "recalibrations", ["state"], unique=False)
    op.create_index(op.f("ix_recalibrations_began_at"), "recalibrations", ["began_at"], unique=False)
