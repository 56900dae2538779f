"""What lists show of profiles, kept beside the whole documents: `documents.py` says what that is and needs pydantic only, `profile_list.py`
keeps it and finds it, `aliases.py` knows who has which, `promotion.py` hands one on, `measured.py` reads speeds from benchmarks."""
