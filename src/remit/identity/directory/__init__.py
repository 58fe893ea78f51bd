"""What the directory says beyond a token: groups and how they came about, and who no longer counts."""
