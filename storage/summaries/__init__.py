"""What lists show of profiles, kept beside the whole documents: `documents.py` says what that is and needs pydantic only, `profile_list.py`
keeps it and finds it, `promotion.py` hands an alias on, `measured.py` reads speeds from benchmarks."""
