"""Encoded pictures from strangers to RGB, or the reason why not.

Every limit on what a stranger's picture may cost is here: bytes before a file is read, pixels
before it is decoded.
"""

from __future__ import annotations

import contextlib
import os
import struct
import tempfile
import threading
import zlib
from collections.abc import Iterator

import cv2
import numpy as np

from lresnet_utils.data.network_input import IMAGE_SIZE

# A photograph of 50 megapixels is at most this large in any of the kinds; it takes 150 MB decoded.
MAX_BYTES = 160 * 2**20
MAX_PIXELS = 50_000_000
_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"
_BMP = b"BM"
_RIFF = b"RIFF"
_WEBP_MOVES = 0x02
_BMP_HEAD = 54
# A picture's worth of numbers that PNG's compression can have made of so few bytes takes no time.
_PNG_SMALL = 200_000
_PNG_STEP = 2**14
_PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
# Markers that start a JPEG frame: C0 to CF without DHT (C4), JPG (C8) and DAC (CC).
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_ALONE = frozenset({0x01, *range(0xD0, 0xD8)})
# What may stand before the frame: tables, what applications add, comments. The decoder passes over
# other bytes in its own way, or gives up, so that a frame behind them could be one never seen here.
_JPEG_SEGMENTS = frozenset({0xC4, 0xCC, 0xDB, 0xDD, *range(0xE0, 0xF0), 0xFE})
_JPEG_PROGRESSIVE = frozenset({0xC2, 0xC6, 0xCA, 0xCE})
# Encoders make about ten; every one goes over all the pixels again, and can be a dozen bytes.
MAX_SCANS = 100
_LOCK = threading.Lock()


def decode(encoded: bytes) -> tuple[np.ndarray | None, str | None]:
    """Decode one picture of a set.

    The size is read from the header first, so that a small file announcing a huge picture costs
    nothing. Only JPEG, PNG, BMP and WebP are handed to a decoder, and PNG only with right
    checksums. A JPEG has none; it is refused when the decoder finds its data corrupt, which it
    would otherwise fill with grey. BMP and WebP are refused where they are cut, while a wrong
    byte inside may pass.

    Parameters
    ----------
    encoded : bytes
        The file's content.

    Returns
    -------
    image : ndarray of uint8, shape (112, 112, 3), RGB, or None
        ``None`` when it cannot be used.
    reason : str or None
        Why not, in a few words; ``None`` when `image` is there.

    Examples
    --------
    >>> decode(b"GIF89a...")
    (None, 'not a JPEG, PNG, BMP or WebP picture')
    >>> image, reason = decode(encode_png(np.zeros((112, 112, 3), np.uint8)))
    >>> image.shape, reason
    ((112, 112, 3), None)
    """
    if not encoded:
        return None, "empty"
    try:
        size = picture_size(encoded)
    except ValueError as error:
        return None, str(error)
    if size != (IMAGE_SIZE, IMAGE_SIZE):
        return None, f"{size[0]}x{size[1]} pixels instead of {IMAGE_SIZE}x{IMAGE_SIZE}"
    return _quietly_decoded(encoded, size)


def decode_photograph(encoded: bytes) -> tuple[np.ndarray | None, str | None]:
    """Decode one picture of any size, as :func:`decode` does one of 112x112.

    Parameters
    ----------
    encoded : bytes
        The file's content.

    Returns
    -------
    image : ndarray of uint8, shape (height, width, 3), RGB, or None
        Turned upright where the file says how it was held.
    reason : str or None
        Why there is no image, such as more than :data:`MAX_PIXELS` pixels.

    Examples
    --------
    >>> decode_photograph(encode_png(np.zeros((30, 20, 3), np.uint8)))[0].shape
    (30, 20, 3)
    """
    if not encoded:
        return None, "empty"
    try:
        width, height = picture_size(encoded)
    except ValueError as error:
        return None, str(error)
    if width < 1 or height < 1:
        return None, "damaged: it has no pixels"
    if width * height > MAX_PIXELS:
        return None, f"{width}x{height} pixels are more than {MAX_PIXELS:,}"
    return _quietly_decoded(encoded, (width, height))


def encode_png(image: np.ndarray) -> bytes:
    """Encode a picture without loss.

    Parameters
    ----------
    image : ndarray of uint8, shape (height, width, 3), RGB
        Three equal channels are stored as one.

    Returns
    -------
    bytes
        A PNG file. The same picture gives the same bytes.

    Raises
    ------
    ValueError
        When `image` is not such an array.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise ValueError("the picture must be uint8 (height, width, 3)")
    grey = (image == image[..., :1]).all()
    _, encoded = cv2.imencode(".png", image[..., 0] if grey else image[..., ::-1])
    return encoded.tobytes()


def picture_size(encoded: bytes) -> tuple[int, int]:
    """Return width and height in pixels from a picture's header, nothing decoded.

    Parameters
    ----------
    encoded : bytes
        JPEG (ITU-T T.81), PNG (ISO/IEC 15948), BMP or WebP (RFC 9649) of one picture.

    Raises
    ------
    ValueError
        When it is none of these, or its structure is damaged; the message is the reason.
    """
    try:
        if encoded.startswith(_PNG):
            return _png_size(encoded)
        if encoded.startswith(_JPEG):
            return _jpeg_size(encoded)
        if encoded.startswith(_BMP):
            width, height = struct.unpack_from("<ii", encoded, 18)
            return width, abs(height)
        if encoded.startswith(_RIFF) and encoded[8:12] == b"WEBP":
            return _webp_size(encoded)
    except struct.error:
        raise ValueError("damaged: it ends too soon") from None
    raise ValueError("not a JPEG, PNG, BMP or WebP picture")


def _png_size(encoded: bytes) -> tuple[int, int]:
    size = None
    position = len(_PNG)
    while True:
        length, kind = struct.unpack_from(">I4s", encoded, position)
        end = position + 8 + length
        (checksum,) = struct.unpack_from(">I", encoded, end)
        if zlib.crc32(memoryview(encoded)[position + 4 : end]) != checksum:
            raise ValueError("damaged: a checksum is wrong")
        if (kind == b"IHDR") != (size is None):
            raise ValueError("damaged: its header is not where it belongs")
        if kind == b"IHDR":
            size = struct.unpack_from(">II", encoded, position + 8)
        elif kind == b"IEND":
            return size
        position = end + 4


def _webp_size(encoded: bytes) -> tuple[int, int]:
    (length,) = struct.unpack_from("<I", encoded, 4)
    if 8 + length > len(encoded):
        raise ValueError("damaged: it ends too soon")
    position, canvas = 12, None
    while True:
        kind, length = struct.unpack_from("<4sI", encoded, position)
        start = position + 8
        if start + length > len(encoded):
            raise ValueError("damaged: it ends too soon")
        chunk = encoded[start : start + min(length, 10)]
        if kind == b"VP8X" and position == 12:
            flags, wide, wider, high, higher = struct.unpack_from("<B3xHBHB", chunk)
            if flags & _WEBP_MOVES:
                raise ValueError("more than one picture")
            canvas = (1 + wide + 65536 * wider, 1 + high + 65536 * higher)
        elif kind in (b"VP8 ", b"VP8L"):
            if kind == b"VP8 ":
                start_code, width, height = struct.unpack_from("<3sHH", chunk, 3)
                right = start_code == b"\x9d\x01\x2a"
                size = width & 0x3FFF, height & 0x3FFF
            else:
                signature, sizes = struct.unpack_from("<BI", chunk)
                right = signature == 0x2F
                size = 1 + (sizes & 0x3FFF), 1 + (sizes >> 14 & 0x3FFF)
            if not right:
                raise ValueError("damaged: its header is not where it belongs")
            # The decoder makes room for the frame, whatever stands before it.
            if canvas not in (None, size):
                raise ValueError("damaged: it states two sizes")
            return size
        position = start + length + length % 2


def _has_surplus_rows(encoded: bytes) -> bool:
    """Tell whether a PNG's data go on behind its rows: the decoder would unpack all of them."""
    if len(encoded) < _PNG_SMALL:
        return False
    width, height, bits, colours = struct.unpack_from(">IIBB", encoded, len(_PNG) + 8)
    # Twice the rows leaves room for what interlacing adds.
    left = 2 * (width * bits * _PNG_CHANNELS.get(colours, 4) // 8 + 2) * (height + 7)
    unpacker = zlib.decompressobj()
    position = len(_PNG)
    try:
        while True:
            length, kind = struct.unpack_from(">I4s", encoded, position)
            position += 8
            for start in range(position, position + length if kind == b"IDAT" else 0, _PNG_STEP):
                end = min(start + _PNG_STEP, position + length)
                left -= len(unpacker.decompress(encoded[start:end]))
                if left < 0:
                    return True
            if kind == b"IEND":
                return False
            position += length + 4
    except zlib.error:  # for the decoder to tell
        return False


def _jpeg_size(encoded: bytes) -> tuple[int, int]:
    position = 2
    while True:
        lead, marker = struct.unpack_from(">BB", encoded, position)
        if lead != 0xFF:
            raise ValueError("damaged: no marker where one belongs")
        if marker == 0xFF:
            position += 1
            continue
        if marker in _JPEG_FRAMES:
            height, width = struct.unpack_from(">HH", encoded, position + 5)
            # The marker that ends a picture cannot occur inside its compressed data.
            if encoded.find(b"\xff\xd9", position) < 0:
                raise ValueError("damaged: it ends too soon")
            if marker in _JPEG_PROGRESSIVE and encoded.count(b"\xff\xda", position) > MAX_SCANS:
                raise ValueError(f"more than {MAX_SCANS} scans")
            return width, height
        if marker in (0xD9, 0xDA):
            raise ValueError("damaged: it has no header")
        position += 2
        if marker in _JPEG_SEGMENTS:
            position += struct.unpack_from(">H", encoded, position)[0]
        elif marker not in _JPEG_ALONE:
            raise ValueError("damaged: no marker where one belongs")


def _quietly_decoded(encoded: bytes, size: tuple[int, int]) -> tuple[np.ndarray | None, str | None]:
    """Return RGB or a reason; OpenCV's own log lines would repeat what the reason says."""
    if encoded.startswith(_BMP):
        cut = len(encoded) < _BMP_HEAD
        if not cut:  # of rows that are missing the decoder makes black ones
            (start,) = struct.unpack_from("<I", encoded, 10)
            width, height, _, bits, compression = struct.unpack_from("<iiHHI", encoded, 18)
            row = (width * bits + 31) // 32 * 4
            cut = compression == 0 and start + row * abs(height) > len(encoded)
        if cut:
            return None, "damaged: it ends too soon"
    if encoded.startswith(_PNG) and _has_surplus_rows(encoded):
        return None, "damaged: its data go on behind its rows"
    log = cv2.utils.logging
    with _LOCK:
        level = log.setLogLevel(log.LOG_LEVEL_SILENT)
        try:
            image, complaint = decoded_with_complaint(encoded)
        finally:
            log.setLogLevel(level)
    if complaint:
        return None, f"damaged: {complaint}"
    if image is None or image.ndim != 3 or sorted(image.shape[:2]) != sorted(size):
        return None, "damaged: it cannot be decoded"
    return image, None


# What the JPEG library says about a picture while OpenCV decodes it.
#
# A JPEG has no checksum. Its library notices damage, writes a line such as "Corrupt JPEG data:
# premature end of data segment" to the process's standard error, and goes on with grey; OpenCV
# returns the picture as if nothing had happened and offers no other way to learn of it. So standard
# error is kept for the moment of the call and read; lines of others are passed on.

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
