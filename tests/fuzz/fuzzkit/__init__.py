"""Deterministic fuzzing: valid seeds, damaged in many ways, and what a reader may do with them.

`engine` damages, `subject` says what a reader is and owes, `bounds` watches time, memory and code,
`loop` puts them together, and `child` runs groups of readers in a process of their own.
"""
