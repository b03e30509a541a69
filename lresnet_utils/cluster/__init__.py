"""Work that one machine's day is too short for: tasks, and who does them.

``engine`` says what a task is, does tasks in this process, and opens workers; ``dask_engine`` hands
tasks to them, and carries files to those that do not see ours. ``records``, ``embed_set`` and
``embedded`` embed and evaluate large sets shard by shard.
"""
