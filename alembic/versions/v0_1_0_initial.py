"""The first schema: calibrations and all they measure, profiles, artifacts, bench reports, search seeds."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0.1.0"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "artifacts",
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("n_bytes", sa.Integer(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("sha256", name=op.f("pk_artifacts")),
    )
    op.create_table(
        "devices",
        sa.Column("device_hash", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.Column("ceilings", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("device_hash", name=op.f("pk_devices")),
    )
    op.create_table(
        "models",
        sa.Column("model_hash", sa.String(length=64), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("family", sa.String(), nullable=False),
        sa.Column("n_layers", sa.Integer(), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("model_hash", name=op.f("pk_models")),
    )
    op.create_table(
        "profiles",
        sa.Column("profile_hash", sa.String(length=64), nullable=False),
        sa.Column("model_hash", sa.String(length=64), nullable=False),
        sa.Column("device_hash", sa.String(length=64), nullable=False),
        sa.Column("dtype", sa.String(), nullable=False),
        sa.Column("saved_at", sa.String(length=40), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("profile_hash", name=op.f("pk_profiles")),
    )
    op.create_index(op.f("ix_profiles_saved_at"), "profiles", ["saved_at"], unique=False)
    op.create_table(
        "search_seeds",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("n_layers", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("skip_set", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", "n_layers", name=op.f("pk_search_seeds")),
    )
    op.create_table(
        "bench_reports",
        sa.Column("report_hash", sa.String(length=64), nullable=False),
        sa.Column("profile_hash", sa.String(length=64), nullable=True),
        sa.Column("saved_at", sa.String(length=40), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["profile_hash"], ["profiles.profile_hash"], name=op.f("fk_bench_reports_profile_hash"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("report_hash", name=op.f("pk_bench_reports")),
    )
    op.create_index(op.f("ix_bench_reports_profile_hash"), "bench_reports", ["profile_hash"], unique=False)
    op.create_table(
        "calibrations",
        sa.Column("calibration_id", sa.String(), nullable=False),
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("model_hash", sa.String(length=64), nullable=False),
        sa.Column("device_hash", sa.String(length=64), nullable=False),
        sa.Column("dtype", sa.String(), nullable=False),
        sa.Column("settings", sa.Text(), nullable=False),
        sa.Column("started_at", sa.String(length=40), nullable=False),
        sa.Column("finished_at", sa.String(length=40), nullable=True),
        sa.Column("profile_hash", sa.String(length=64), nullable=True),
        sa.ForeignKeyConstraint(["device_hash"], ["devices.device_hash"], name=op.f("fk_calibrations_device_hash")),
        sa.ForeignKeyConstraint(["model_hash"], ["models.model_hash"], name=op.f("fk_calibrations_model_hash")),
        sa.ForeignKeyConstraint(["profile_hash"], ["profiles.profile_hash"], name=op.f("fk_calibrations_profile_hash")),
        sa.PrimaryKeyConstraint("calibration_id", name=op.f("pk_calibrations")),
        sa.UniqueConstraint("key", "attempt", name=op.f("uq_calibrations_key")),
    )
    op.create_table(
        "drafter_candidates",
        sa.Column("calibration_id", sa.String(), nullable=False),
        sa.Column("plan_hash", sa.String(length=64), nullable=False),
        sa.Column("n_skipped", sa.Integer(), nullable=False),
        sa.Column("precision", sa.String(), nullable=False),
        sa.Column("acceptance", sa.Double(), nullable=False),
        sa.Column("cost", sa.Double(), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("saved_at", sa.String(length=40), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["calibration_id"],
            ["calibrations.calibration_id"],
            name=op.f("fk_drafter_candidates_calibration_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("calibration_id", "plan_hash", name=op.f("pk_drafter_candidates")),
    )
    op.create_table(
        "latency_models",
        sa.Column("calibration_id", sa.String(), nullable=False),
        sa.Column("cv_median_error", sa.Double(), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["calibration_id"],
            ["calibrations.calibration_id"],
            name=op.f("fk_latency_models_calibration_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("calibration_id", name=op.f("pk_latency_models")),
    )
    op.create_table(
        "latency_samples",
        sa.Column("calibration_id", sa.String(), nullable=False),
        sa.Column("point", sa.String(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("n", sa.Integer(), nullable=False),
        sa.Column("median_ms", sa.Double(), nullable=False),
        sa.Column("spread", sa.Double(), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["calibration_id"],
            ["calibrations.calibration_id"],
            name=op.f("fk_latency_samples_calibration_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("calibration_id", "point", name=op.f("pk_latency_samples")),
    )
    op.create_table(
        "stage_documents",
        sa.Column("calibration_id", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["calibration_id"],
            ["calibrations.calibration_id"],
            name=op.f("fk_stage_documents_calibration_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("calibration_id", "kind", "key", name=op.f("pk_stage_documents")),
    )
