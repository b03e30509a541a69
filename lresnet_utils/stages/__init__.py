"""The report's stages as functions: read earlier files, compute, write files and one record.

Each module is what one notebook runs, imported by that notebook alone, so that a stage waits for
no library it does not need. A stage never stops because one target fails: that target's part of
the record says ``unavailable`` or ``failed`` with the reason, and the others go on.
"""
