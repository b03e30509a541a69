"""What a notebook's outputs carry that their published page does not: marks, Jupyter's styles.

Pages must be the same for the same inputs, and measured times never are. So what shows them is
marked in the notebook; pages other than the performance page and the index leave it out.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

TIMED = "lresnet_timed"
"""The mark's name in an output's metadata."""
LEFT = ' style="text-align:left"'
"""For text in tables: Jupyter sets every cell to the right; the page's style sheet does not."""

_timing: ContextVar[bool] = ContextVar("timing", default=False)


@contextmanager
def timings() -> Iterator[None]:
    """Mark whatever the block shows as timed; also a decorator of functions that show things.

    Examples
    --------
    >>> with timings():
    ...     timed_metadata()
    {'lresnet_timed': True}
    >>> timed_metadata()
    {}
    """
    token = _timing.set(True)
    try:
        yield
    finally:
        _timing.reset(token)


def timed_metadata() -> dict[str, bool]:
    """Return the metadata of an output that is shown now."""
    return {TIMED: True} if _timing.get() else {}
