"""A run of the notebooks: planned, checked, executed, resumed, shown."""
