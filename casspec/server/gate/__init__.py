"""What a request passes before it is answered: `body_limit.py` its size, `keys.py` who asks, `admission.py` whether there is room,
and `access_log.py` the line that is left of it.

To add a bound, edit `admission.py` and `casspec/server/settings.py`.
"""
