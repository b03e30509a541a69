"""Work that one machine's day is too short for: tasks, and who does them.

``tasks`` says what a task is and does tasks in this process, ``engine`` opens workers,
``dask_engine`` hands tasks to them, and ``courier`` carries files to workers that do not see ours.
``records``, ``embed_set`` and ``pairs`` embed and evaluate large sets shard by shard.
"""
