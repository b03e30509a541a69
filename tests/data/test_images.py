"""Decoding against what was encoded; pictures that must not reach a decoder."""

import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from lresnet_utils.data import images
from lresnet_utils.data.images import decode, decode_photograph, encode_png, picture_size


def face(seed=0):
    noise = np.random.default_rng(seed).integers(0, 256, (112, 112, 3), np.uint8)
    return cv2.GaussianBlur(noise, (0, 0), 3)


def encoded_by_opencv(kind, rgb):
    return cv2.imencode(kind, rgb[..., ::-1])[1].tobytes()


@given(hnp.arrays(np.uint8, (112, 112, 3), elements=st.integers(0, 255), fill=st.just(7)))
@settings(max_examples=20)
def test_png_round_trip_keeps_every_pixel(picture):
    image, reason = decode(encode_png(picture))
    assert reason is None
    np.testing.assert_array_equal(image, picture)


def test_grey_faces_come_back_with_three_equal_channels():
    picture = np.repeat(face()[..., :1], 3, axis=2)
    encoded = encode_png(picture)
    assert encoded[25] == 0, "colour type 0 is grey"
    np.testing.assert_array_equal(decode(encoded)[0], picture)


@pytest.mark.parametrize("kind", [".png", ".bmp"])
def test_channels_are_rgb(kind):
    picture = np.zeros((112, 112, 3), np.uint8)
    picture[..., 0], picture[..., 2] = 200, 10
    np.testing.assert_array_equal(decode(encoded_by_opencv(kind, picture))[0], picture)


def test_jpeg_is_decoded_as_the_guide_decodes_it_but_rgb():
    encoded = encoded_by_opencv(".jpg", face())
    guide = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR)
    np.testing.assert_array_equal(decode(encoded)[0][..., ::-1], guide)


@pytest.mark.parametrize("kind", [".png", ".jpg", ".bmp", ".webp"])
@pytest.mark.parametrize("size", [(1, 1), (112, 111), (92, 112), (300, 400)])
def test_sizes_are_read_from_headers(kind, size):
    height, width = size
    encoded = encoded_by_opencv(kind, np.zeros((height, width, 3), np.uint8))
    assert picture_size(encoded) == (width, height)
    assert decode(encoded) == (None, f"{width}x{height} pixels instead of 112x112")


def test_jpegs_with_every_kind_of_header():
    for parameters in (
        [cv2.IMWRITE_JPEG_PROGRESSIVE, 1],
        [cv2.IMWRITE_JPEG_RST_INTERVAL, 2],
        [cv2.IMWRITE_JPEG_OPTIMIZE, 1],
    ):
        encoded = cv2.imencode(".jpg", face(), parameters)[1].tobytes()
        assert picture_size(encoded) == (112, 112)
        assert decode(encoded)[1] is None
    # An EXIF thumbnail's own end marker before the frame must not count as the picture's end.
    thumbnail = b"\xff\xe1" + struct.pack(">H", 6) + b"\xff\xd8\xff\xd9"
    whole = encoded[:2] + thumbnail + encoded[2:]
    assert decode(whole)[1] is None
    assert "too soon" in decode(whole[: len(whole) // 2])[1]


@pytest.mark.parametrize("kind", [".png", ".jpg", ".bmp", ".webp"])
def test_cut_anywhere_has_a_reason_and_says_nothing(kind, capfd):
    encoded = encoded_by_opencv(kind, face())
    for end in range(0, len(encoded) - 1, max(1, len(encoded) // 60)):
        image, reason = decode(encoded[:end])
        assert image is None and reason
    assert capfd.readouterr() == ("", "")


def test_a_damaged_png_is_refused_before_decoding(monkeypatch):
    monkeypatch.setattr(images.cv2, "imdecode", None)
    encoded = bytearray(encode_png(face()))
    encoded[len(encoded) // 2] ^= 1
    assert decode(bytes(encoded)) == (None, "damaged: a checksum is wrong")


def webp(picture=None, **how):
    """A WebP by another encoder; 90x70 where nothing else is said."""
    picture = face()[:70, :90] if picture is None else picture
    whole = io.BytesIO()
    Image.fromarray(picture).save(whole, "WebP", **how)
    return whole.getvalue()


def with_alpha():
    return np.dstack([face()[:70, :90], np.full((70, 90), 255, np.uint8)])


@pytest.mark.parametrize(
    "encoded, first",
    [
        (webp(quality=90), b"VP8 "),
        (webp(lossless=True), b"VP8L"),
        (webp(with_alpha(), quality=90), None),
        (webp(quality=90, exif=b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0\0\0"), b"VP8X"),
        (webp(with_alpha(), lossless=True, icc_profile=b"a profile, of odd length"), b"VP8X"),
    ],
)
def test_every_form_of_webp_is_read_as_another_decoder_reads_it(encoded, first):
    assert first in (None, encoded[12:16]) and picture_size(encoded) == (90, 70)
    image, reason = decode_photograph(encoded)
    assert reason is None
    other = np.asarray(Image.open(io.BytesIO(encoded)).convert("RGB"), int)
    assert np.abs(image - other).max() <= 2, "of lossy pictures colour is interpolated"


def test_a_webp_that_moves_or_states_two_sizes_is_refused():
    frames = [Image.fromarray(face(seed)) for seed in (0, 1)]
    whole = io.BytesIO()
    frames[0].save(whole, "WebP", save_all=True, append_images=frames[1:])
    assert decode(whole.getvalue()) == (None, "more than one picture")
    extended = bytearray(webp(quality=90, icc_profile=b"some"))
    assert extended[12:16] == b"VP8X" and decode_photograph(bytes(extended))[1] is None
    extended[24:27] = (5000).to_bytes(3, "little")
    assert decode_photograph(bytes(extended)) == (None, "damaged: it states two sizes")


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(
        ">I", zlib.crc32(kind + content)
    )  # fmt: skip


def png(width, height):
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    data = chunk(b"IDAT", zlib.compress(b"\x00" * 100_000))
    return b"\x89PNG\r\n\x1a\n" + header + data + chunk(b"IEND", b"")


def test_bombs_never_reach_the_decoder(monkeypatch):
    monkeypatch.setattr(images.cv2, "imdecode", None)
    jpeg = bytearray(encoded_by_opencv(".jpg", face()))
    frame = jpeg.index(b"\xff\xc0")
    jpeg[frame + 5 : frame + 9] = b"\xff\xff\xff\xff"
    bmp = bytearray(encoded_by_opencv(".bmp", face()))
    bmp[18:26] = struct.pack("<ii", 2**31 - 1, -(2**31))
    webps = [bytearray(webp(quality=90)), bytearray(webp(lossless=True))]
    webps[0][26:30] = b"\xff\x3f\xff\x3f"
    webps[1][21:25] = b"\xff\xff\xff\x0f"
    for bomb in (png(60_000, 60_000), png(2**31 - 1, 1), *map(bytes, (jpeg, bmp, *webps))):
        image, reason = decode(bomb)
        assert image is None and "instead of 112x112" in reason


@pytest.mark.parametrize(
    "encoded, reason",
    [
        (b"", "empty"),
        (b"\x93NUMPY", "not a JPEG, PNG, BMP or WebP picture"),
        (b"\x89PNG\r\n\x1a\n", "damaged: it ends too soon"),
        (b"\x89PNG\r\n\x1a\n" + chunk(b"IEND", b""), "damaged: its header is not where it belongs"),
        (b"\xff\xd8\xff\xd9", "damaged: it has no header"),
        (b"\xff\xd8\xff" + b"\xff" * 50, "damaged: it ends too soon"),
        (b"\xff\xd8\xff\xe0\x00\x00\x00\x00\x00", "damaged: no marker where one belongs"),
        (b"BM", "damaged: it ends too soon"),
    ],
)
def test_reasons(encoded, reason):
    assert decode(encoded) == (None, reason)


@settings(max_examples=200)
@given(st.sampled_from([b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"BM", b""]), st.binary(max_size=80))
def test_noise_always_has_a_reason(start, rest):
    image, reason = decode(start + rest)
    assert image is None and reason


@pytest.mark.parametrize("shape", [(112, 112), (112, 112, 1), (0, 0, 3)])
def test_encode_refuses_other_arrays(shape):
    with pytest.raises(ValueError, match="uint8"):
        encode_png(np.zeros(shape, np.uint8))


def jpeg(options=()):
    return cv2.imencode(".jpg", np.zeros((112, 112, 3), np.uint8), list(options))[1].tobytes()


def test_a_frame_cannot_hide_behind_what_the_decoder_passes_over():
    """For libjpeg FF 00 is no marker: it would find the large frame that a reader skips."""
    whole = jpeg()
    frame = whole.index(b"\xff\xc0")
    large = whole[frame : frame + 5] + struct.pack(">HH", 50_000, 50_000) + whole[frame + 9 :]
    for marker in (0x00, 0x02, 0xBF, 0xD8, 0xDE, 0xF0, 0xFD):
        head = bytes([0xFF, marker]) + struct.pack(">H", 2 + 19) + large[:19]
        encoded = whole[:2] + head + whole[2:]
        with pytest.raises(ValueError, match="no marker where one belongs"):
            picture_size(encoded)
        assert decode_photograph(encoded)[0] is None


def test_a_picture_of_many_scans_is_refused_before_it_is_decoded():
    whole = jpeg([cv2.IMWRITE_JPEG_PROGRESSIVE, 1])
    assert decode_photograph(whole)[1] is None
    scan = whole[whole.rindex(b"\xff\xda") : -2]
    image, reason = decode_photograph(whole[:-2] + scan * 100 + whole[-2:])
    assert image is None and reason == "more than 100 scans"


def test_a_png_whose_data_go_on_behind_its_rows_is_refused_before_it_is_unpacked():
    """The decoder unpacks all that follows: 2 MB took it 17 s, and a picture may have 160."""
    rows = b"".join(b"\0" + row.tobytes() for row in face())

    def chunk(kind, data):
        checksum = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + checksum

    def png(after):
        head = struct.pack(">IIBBBBB", 112, 112, 8, 2, 0, 0, 0)
        data = zlib.compress(rows + after, 1)
        return images._PNG + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")

    assert (decode(png(b""))[0] == face()).all()
    assert decode(png(bytes(80_000_000))) == (None, "damaged: its data go on behind its rows")
    noise = np.random.default_rng(1).integers(0, 256, (500, 400, 3), np.uint8)
    large = encode_png(noise)
    assert len(large) > 200_000 and (decode_photograph(large)[0] == noise).all()
