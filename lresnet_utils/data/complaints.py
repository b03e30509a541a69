"""What the JPEG library says about a picture while OpenCV decodes it.

A JPEG has no checksum. Its library notices damage, writes a line such as "Corrupt JPEG data:
premature end of data segment" to the process's standard error, and goes on with grey; OpenCV
returns the picture as if nothing had happened and offers no other way to learn of it. So standard
error is kept for the moment of the call and read; lines of others are passed on.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator

import cv2
import numpy as np

_STDERR = 2
_HARMLESS = ("Warning: unknown JFIF revision", "Invalid SOS parameters", "Unknown Adobe color")
_DAMAGE = ("Corrupt JPEG data", "Premature end of JPEG file", "Inconsistent progression sequence")


def decoded_with_complaint(encoded: bytes) -> tuple[np.ndarray | None, str | None]:
    """Decode a picture and tell what the library found wrong with its data.

    Not for several threads at once: each would keep the others' lines.

    Parameters
    ----------
    encoded : bytes

    Returns
    -------
    image : ndarray of uint8, shape (height, width, 3), RGB, or None
    complaint : str or None
        The library's first line about damage.
    """
    image = None
    with _kept_stderr() as told, contextlib.suppress(cv2.error):
        image = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR_RGB)
    others = [line for line in told if not line.startswith((*_DAMAGE, *_HARMLESS))]
    if others:
        with contextlib.suppress(OSError):
            os.write(_STDERR, "".join(f"{line}\n" for line in others).encode())
    return image, next((line for line in told if line.startswith(_DAMAGE)), None)


@contextlib.contextmanager
def _kept_stderr() -> Iterator[list[str]]:
    """Yield a list that holds, after the block, the lines which it wrote to standard error."""
    lines: list[str] = []
    try:
        real = os.dup(_STDERR)
    except OSError:  # a process without standard error: nothing can be heard
        yield lines
        return
    with tempfile.TemporaryFile() as kept:
        os.dup2(kept.fileno(), _STDERR)
        try:
            yield lines
        finally:
            os.dup2(real, _STDERR)
            os.close(real)
            if os.fstat(kept.fileno()).st_size:
                kept.seek(0)
                lines += kept.read().decode("utf-8", "replace").splitlines()
