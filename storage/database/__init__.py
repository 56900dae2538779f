"""The database: where it is, what is in it, and how it stays current.

`location.py` finds it: a URL, a path, or the user data directory. `connection.py` opens it and runs units of work, `migrations.py`
brings its schema up first. `tables.py` has the tables, `rows.py` how rows are written, `failures.py` what drivers raise, told in
one line.

Read `tables.py`, then `connection.py`. To add a table or a column, edit `tables.py` and write a migration in `alembic/versions/`.
"""
