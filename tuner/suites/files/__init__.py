"""Files of prompts as people have them, read by their shape and within bounds.

`content.py` opens a file, compressed or not, and says how much of it is read. `json_values.py` takes values out of JSON lines and
lists, `tables.py` rows out of CSV and Parquet. `shapes.py` recognises what a row is: `questions.py` reads Spec-Bench's and plain
prompts, `conversations.py` OpenAI's messages and ShareGPT, `tool_conversations.py` messages with tools. What they make of it stands in
`rows.py`. `reading.py` goes through a file or a folder and counts what cannot be used; `gathered.py` makes a suite of it.

Read `rows.py`, then `shapes.py`. To add a shape, write its reader beside `conversations.py` and name it in `shapes.py`; to add a file
format, yield its rows as `tables.py` does and name its suffix in `reading.py`.
"""
