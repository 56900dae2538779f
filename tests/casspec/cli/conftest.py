"""Commands that mirror to MLflow find its empty database ready made."""

from tests.tuner.conftest import with_mirror  # noqa: F401
