"""/v1/responses: `response.py` is the endpoint. `items_in.py` is what it takes, `items_out.py` what it puts out, `events.py` its stream."""
