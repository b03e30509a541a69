"""What each notebook shows: a stage's record as tables, charts and sentences.

One module per notebook. The functions here choose and word; they compute no result.
"""
