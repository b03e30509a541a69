"""Verification numbers from scores: the guide's protocol, curves, intervals, comparisons.

Nothing here draws or prints, and nothing here knows where the embeddings came from.

Words used throughout: a *pair* is two images, *genuine* when they show one person and *impostor*
when they do not; its *distance* is the squared Euclidean distance of the two unit embeddings
(``2 - 2 cos``, float64, from 0 to 4); the pair is accepted as "same" when its distance is strictly
smaller than the threshold. A pair is *acquired* when both images gave an embedding.
"""
