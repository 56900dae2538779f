"""Floor 4: chooses. Suites, recordings, the search, the cascade, benchmarks, MLflow.

Folders in their order of imports, each from those before it: `suites/` prompts, `recordings/` what the target said on them, `search/`
plans, `bench/` races, `replay/` decoding without the model, `methods/` settings of every method, `cascade/` which drafters join,
`report_page/` one page, `mlflow_mirror/` MLflow, `calibration/` the stages in order.

The files beside them are ground that all may import: `settings.py` what decides the outcome of a calibration, `environment.py` what
a measurement depends on, `closed_forms.py` formulas of the literature, `external_databases.py` those of Optuna and MLflow,
`calibration_history.py` what the store knows of one calibration. `context.py`, what stages work on, stands above `suites/`.

Read `calibration/calibrate.py`. To add a setting, edit `settings.py`.
"""
