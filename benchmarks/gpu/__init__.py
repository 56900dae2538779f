"""What a GPU makes of casspec, in a few minutes and one page: `make gpu`, or `python -m benchmarks.gpu`.

Read in this order:

* `stages.py`: stages that share a time between them; whatever becomes of one, the others run. `alarm.py` ends one that would not.
* `run.py`: what the stages have in common, and their list.
* `wide_model.py`: the testbed, made on the device. `bound.py`: what its weights allow. `forwards.py`: eager or by CUDA graphs.
* `measured/`: a stage each, or two.
* `race.py`: methods side by side, which several of them run; `figures.py`: medians, ratios and spreads of it.
* `bars.py`: what the figures are held against; `report.py`: tables, the page, the JSON.
* `__main__.py`: the command.

To add a stage, write a function in `measured/` and add it to `STAGES` in `run.py`; to show another figure, add it to `COLUMNS` in
`report.py`.
"""
