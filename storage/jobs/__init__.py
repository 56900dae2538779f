"""Calibrations that are queued: `documents.py` describes them and needs pydantic only, `queue.py` keeps them and says who runs which,
`log.py` keeps what their workers said."""
