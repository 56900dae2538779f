"""The stages that measure something, a file each: functions that take `Work` of `benchmarks/gpu/run.py` and give rows of figures."""
