"""What a setting would bring, without a restart of the engine.

`acceptance.py` replays lookup on what the engine wrote, `estimate.py` says what steps cost where no probe times them, `prediction.py` joins
acceptance and steps, `search.py` searches settings by it.
"""
