"""What lists show of profiles, beside the profiles; jobs of a kind of device in the order they came."""

from __future__ import annotations

import json
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0.5.0"
down_revision = "0.4.0"
branch_labels = None
depends_on = None

SUBJECT = ("model_hash", "device_hash", "dtype")
DEVICE = ("kind", "name", "capability", "threads", "torch_version", "memory_class", "ceilings")


def upgrade() -> None:
    op.create_table(
        "profile_summaries",
        sa.Column("profile_hash", sa.String(length=64), nullable=False),
        sa.Column("model_hash", sa.String(length=64), nullable=False),
        sa.Column("device_hash", sa.String(length=64), nullable=False),
        sa.Column("dtype", sa.String(), nullable=False),
        sa.Column("backend", sa.String(), nullable=False),
        sa.Column("saved_at", sa.String(length=40), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.Column("measured", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["profile_hash"],
            ["profiles.profile_hash"],
            name=op.f("fk_profile_summaries_profile_hash"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("profile_hash", name=op.f("pk_profile_summaries")),
    )
    op.create_index(
        op.f("ix_profile_summaries_saved_at"), "profile_summaries", ["saved_at", "profile_hash"], unique=False
    )
    op.create_index(
        op.f("ix_profile_summaries_model_hash"),
        "profile_summaries",
        [*SUBJECT, "backend", "saved_at"],
        unique=False,
    )
    op.create_index(op.f("ix_jobs_device_submitted_at"), "jobs", ["device", "submitted_at"], unique=False)
    _fill()


def _fill() -> None:
    """A row a profile; one whole document at a time."""
    profiles = sa.table("profiles", *map(sa.column, ("profile_hash", *SUBJECT, "saved_at", "document")))
    names = ("profile_hash", *SUBJECT, "backend", "saved_at", "document", "measured")
    summaries = sa.table("profile_summaries", *map(sa.column, names))
    connection = op.get_bind()
    for profile_hash in connection.scalars(sa.select(profiles.c.profile_hash)).all():
        one = sa.select(profiles).where(profiles.c.profile_hash == profile_hash)
        row = connection.execute(one).mappings().one()
        summary = _summary(row, json.loads(row["document"]))
        kept = {name: row[name] for name in ("profile_hash", *SUBJECT, "saved_at")}
        kept |= {"backend": summary["backend"], "document": _canonical(summary)}
        kept["measured"] = _canonical(_measured(connection, profile_hash))
        connection.execute(sa.insert(summaries).values(kept))


def _summary(row: Any, profile: dict[str, Any]) -> dict[str, Any]:
    model, device, drafters = profile["model"], profile["device"], profile["drafters"]
    plans = [drafter.get("quantization", {}) for drafter in drafters]
    extra_bytes = {plan.get("precision"): plan.get("extra_bytes", 0) for plan in plans}
    return {
        "profile_id": row["profile_hash"][:12],
        "profile_hash": row["profile_hash"],
        "created_at": profile["created_at"],
        "saved_at": row["saved_at"],
        "model": {"name": model["name"], "family": model["family"], "identity": row["model_hash"]},
        "device": {name: device.get(name) for name in DEVICE} | {"identity": row["device_hash"]},
        "dtype": row["dtype"],
        "backend": profile.get("backend") or "lean",
        "suite": profile["suite"],
        "decision": profile.get("decision", "cascade"),
        "drafters": [drafter["name"] for drafter in drafters],
        "extra_bytes": sum(extra_bytes.values()),
        "predicted_speedup": profile.get("predicted_speedup", {}),
    }


def _measured(connection: sa.Connection, profile_hash: str) -> dict[str, Any]:
    """Overall speeds of dytc as the profile sets it, by decoding mode, each of the newest benchmark that has it."""
    reports = sa.table("bench_reports", *map(sa.column, ("profile_hash", "saved_at", "document")))
    newest_first = sa.select(reports.c.document).where(reports.c.profile_hash == profile_hash)
    found: dict[str, Any] = {}
    for text in connection.scalars(newest_first.order_by(reports.c.saved_at.desc())).all():
        report = json.loads(text)
        for row in report["rows"]:
            if (row["method"], row["variant"], row["task"]) == ("dytc", "tuned", "overall"):
                figures = {name: row[name] for name in ("speedup", "spread", "tokens_per_second")}
                found.setdefault(row["mode"], figures | {"measured_at": report["created_at"]})
    return found


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))
