"""The page at `/`: one file, no build, nothing from elsewhere."""
