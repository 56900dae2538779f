"""What servers report of the profiles they serve, and the re-calibrations that drift led to.

`documents.py` describes both and needs pydantic only; `received.py` keeps the reports, a bounded history of each server and profile;
`recalibrations.py` keeps how far each re-calibration is, so that another process can go on with it.
"""
