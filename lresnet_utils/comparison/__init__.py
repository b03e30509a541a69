"""Two finished reports side by side: opened, matched cell by cell, compared pair by pair.

A *report* is a run's folder, its ``results.json`` with the stored scores beside it, or its
published first page, which carries both as data. `verify` and `perf` compute; this package finds
what they need and says what came of it; `report` draws it.
"""
