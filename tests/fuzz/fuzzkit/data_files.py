"""Readers of sets, pictures, stores and dumps."""

from __future__ import annotations

import ast
import io
import json
import pickle
import re
import struct
import zipfile

import cv2
import numpy as np
from PIL import Image, ImageFile

from fuzzkit.subject import Seed, Subject, write
from lresnet_utils.data.face_set import open_store
from lresnet_utils.data.images import decode, encode_png
from lresnet_utils.data.readers.bin import read_bin
from lresnet_utils.errors import DataError
from lresnet_utils.machine.disk import read_arrays, write_arrays
from lresnet_utils.targets.dumps import read_dump

ROWS, COLUMNS = np.mgrid[0:112, 0:112]
FACE = np.stack([ROWS, COLUMNS, (ROWS + COLUMNS) // 2], 2).astype(np.uint8) * 2
N_IMAGES, SIZE = 2, 4
VECTORS = (np.arange(2 * SIZE, dtype=np.float32).reshape(2, SIZE) + 1) / 8


# --- .bin sets ---------------------------------------------------------------------------------


def _bin_seeds(folder):
    pictures = [b"\xff\xd8one", b"two\n", b"\xff\xd8one", b""]
    arrays = [np.frombuffer(p, np.uint8) for p in pictures]
    labels = [True, False]
    sets = [
        *((pictures, labels, protocol) for protocol in range(6)),
        (arrays, np.array(labels), 2),
        ([a.reshape(-1, 1) for a in arrays], tuple(np.bool_(x) for x in labels), 4),
        ([bytearray(p) for p in pictures], [1, 0], 5),
    ]
    old = b"\x80\x02]q\x01(U\x02\xff\xd8U\x03a\x00be]q\x02\x88a\x86q\x03."
    return [Seed(pickle.dumps((p, n), protocol)) for p, n, protocol in sets] + [Seed(old)]


def _bin_read(data, seed, folder):
    return read_bin(write(folder, "set.bin", data))


def _bin_check(data, seed, value):
    """Python's own unpickler must find the same; it is safe once ours has accepted the bytes."""
    # The one written in Python, for the other makes room for any number that a file names.
    pictures, labels = pickle._loads(data, encoding="bytes")
    told = [p.tobytes() if isinstance(p, np.ndarray) else _as_bytes(p) for p in pictures]
    assert told == value.encoded, "other pictures"
    assert np.asarray(labels).ravel().astype(bool).tolist() == value.same.tolist(), "other labels"
    assert 2 * len(value.same) == len(value.encoded) > 0


def _as_bytes(value):
    return value.encode("latin-1") if isinstance(value, str) else bytes(value)


# --- pictures ----------------------------------------------------------------------------------


def _png_seeds(folder):
    indexed = io.BytesIO()
    Image.fromarray(FACE).quantize(16).save(indexed, "PNG")
    grey = np.repeat(FACE[..., :1], 3, 2)
    return [Seed(encode_png(FACE)), Seed(encode_png(grey)), Seed(indexed.getvalue())]


def _jpeg_seeds(folder):
    seeds = []
    for options in ([], [cv2.IMWRITE_JPEG_PROGRESSIVE, 1], [cv2.IMWRITE_JPEG_RST_INTERVAL, 4]):
        quality = [cv2.IMWRITE_JPEG_QUALITY, 80]
        seeds.append(Seed(cv2.imencode(".jpg", FACE[..., ::-1], quality + options)[1].tobytes()))
    seeds.append(Seed(cv2.imencode(".bmp", FACE[..., ::-1])[1].tobytes()))
    return seeds


def _picture_read(data, seed, folder):
    image, reason = decode(data)
    if image is None:
        raise DataError(reason)
    return image


def _picture_check(data, seed, value):
    """Pillow, which refuses what is cut short, must see the same picture."""
    assert value.shape == (112, 112, 3) and value.dtype == np.uint8
    jpeg = data[:2] == b"\xff\xd8"
    # Pillow also refuses a JPEG for what follows its pixels, which harms nothing.
    ImageFile.LOAD_TRUNCATED_IMAGES = jpeg
    with Image.open(io.BytesIO(data), formats=("PNG", "JPEG", "BMP")) as image:
        assert image.size == (112, 112)
        other = np.asarray(image.convert("RGB")).astype(int)
    # Two JPEG libraries round differently.
    assert np.abs(other - value).max() <= (4 if jpeg else 0), "other pixels"


PNG_TOKENS = (
    b"IHDR", b"IDAT", b"IEND", b"PLTE", b"tRNS", b"zTXt", b"iCCP", b"acTL", b"\x89PNG\r\n\x1a\n",
    struct.pack(">II", 65500, 65500), struct.pack(">II", 112, 112), b"\x00\x00\x00\x0dIHDR",
)  # fmt: skip
JPEG_TOKENS = (
    b"\xff\xd8", b"\xff\xd9", b"\xff\xc0", b"\xff\xc2", b"\xff\xda", b"\xff\xc4", b"\xff\xdd",
    b"\xff\xd0", b"\xff\xe1", b"Exif\x00\x00", b"\xff\xc0\x00\x11\x08\xff\xff\xff\xff\x03", b"BM",
    struct.pack("<ii", 112, -112), struct.pack("<ii", 2**30, 2**30),
)  # fmt: skip

# --- array files and stores --------------------------------------------------------------------

ARRAY_TOKENS = (
    b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06", b"\x93NUMPY\x01\x00", b"'descr': '|O'",
    b"'descr': '<f4'", b"'descr': '<f8'", b"'shape': (99999999, 99999999)", b"'shape': (1,)",
    b"(0,)", b"(-1,)", b"'fortran_order': True", b"<U9", b"V99", b"left.npy",
)  # fmt: skip


def _npz_arrays():
    return {"left": np.arange(3, dtype=np.int32), "same": np.array([[True, False]]),
            "x": np.asfortranarray(np.ones((2, 3), np.float64)), "none": np.empty(0, np.float32)}  # fmt: skip


def _npz_seeds(folder):
    return [Seed(write_arrays(folder / "a.npz", **_npz_arrays()).read_bytes())]


def _npz_read(data, seed, folder):
    return read_arrays(write(folder, "a.npz", data))


def _npz_check(data, seed, value):
    """Read again by zipfile and by the header's own words."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        contents = {info.filename: archive.read(info) for info in archive.infolist()}
    assert {name.removesuffix(".npy") for name in contents} == set(value)
    for name, array in value.items():
        _same_array(contents[f"{name}.npy"], array)


def _same_array(data, array):
    head = 10 + struct.unpack("<H", data[8:10])[0]
    about = ast.literal_eval(data[10:head].decode("latin-1").strip())
    raw = array.tobytes("F" if about["fortran_order"] else "C")
    assert raw == data[head:], "other bytes"
    assert tuple(about["shape"]) == array.shape and np.dtype(about["descr"]) == array.dtype


def _store_record():
    return {
        "schema": 1, "name": "toy", "source": "toy.bin", "credit": "", "sha256": "ab" * 32,
        "n_images": 3, "n_pairs": 2, "variants": [{"name": "aligned", "label": "aligned"}],
        "failures": [{"image": 2, "reason": "empty"}],
    }  # fmt: skip


def _store_seeds(folder):
    pairs = {"left": np.array([0, 1], np.int32), "right": np.array([1, 2], np.int32),
             "same": np.array([True, False]), "identity": np.arange(3, dtype=np.int32)}  # fmt: skip
    npz = write_arrays(folder / "pairs.npz", **pairs).read_bytes()
    npy = io.BytesIO()
    np.save(npy, np.zeros((3, 112, 112, 3), np.uint8))
    files = {
        "set.json": json.dumps(_store_record()).encode(),
        "pairs.npz": npz,
        "images_aligned.npy": npy.getvalue(),
    }
    for name, data in files.items():
        write(folder, name, data)
    # The pixels themselves are long and have no structure: their first bytes stand for them.
    head = npy.getvalue()[:128]
    return [
        Seed(files["set.json"], ("set.json", files["set.json"])),
        Seed(npz, ("pairs.npz", npz)),
        Seed(head, ("images_aligned.npy", head)),
    ]


def _store_read(data, seed, folder):
    name, whole = seed.about
    path = folder / name
    try:
        if name == "images_aligned.npy":
            with path.open("r+b") as file:
                file.write(data[: len(whole)])
        else:
            path.write_bytes(data)
        faces = open_store(folder)
        return faces, np.array(faces.images("aligned")[:, 0, 0, 0])
    finally:
        with path.open("r+b") as file:
            file.write(whole)
            if name != "images_aligned.npy":
                file.truncate()


def _store_check(data, seed, value):
    faces, corner = value
    assert corner.tolist() == [0, 0, 0]
    name, _ = seed.about
    if name == "set.json":
        record = json.loads(data)
        assert record == faces.record
        assert faces.n_images == 3 and faces.n_pairs == 2
        assert [faces.name, faces.sha256] == [record["name"], record["sha256"]]
    else:
        assert (faces.left.tolist(), faces.right.tolist()) == ([0, 1], [1, 2])
        assert faces.same.tolist() == [True, False]


# --- vendors' dumps ----------------------------------------------------------------------------


def _dump_seeds(folder):
    seeds = []
    row = VECTORS[1]
    npy = io.BytesIO()
    np.save(npy, row[None])
    forms = {
        "text": ("_1.txt", " ".join(f"{x:.9f}" for x in row).encode() + b"\n"),
        "bin": ("_1.bin", row.astype("<f4").tobytes()),
        "half": ("_output_0.bin", row.astype("<f2").tobytes()),
        "npy": ("_0.npy", npy.getvalue()),
    }
    for name, (ending, data) in forms.items():
        inner = folder / name
        inner.mkdir(exist_ok=True)
        for number in range(N_IMAGES):
            write(inner, f"{number}{ending}", data)
        seeds.append(Seed(data, (name, f"1{ending}")))
    account = {"filesinfo": {str(i): {"infiles": [f"in/{i}.bin"], "outfiles": [f"npy/{i}_0.npy"]}
                             for i in range(N_IMAGES)}}  # fmt: skip
    data = json.dumps(account).encode()
    write(folder, "npy_summary.json", data)
    seeds.append(Seed(data, ("npy", "../npy_summary.json")))
    return seeds


def _dump_read(data, seed, folder):
    name, file = seed.about
    write(folder / name, file, data)
    try:
        return read_dump(folder / name, N_IMAGES, SIZE, views=("plain",))[0]
    finally:
        write(folder / name, file, seed.data)


def _dump_check(data, seed, value):
    name, file = seed.about
    assert value.shape == (N_IMAGES, SIZE) and np.isfinite(value).all()
    if file.endswith(".json"):
        assert np.array_equal(value, np.stack([VECTORS[1]] * 2))
        return
    if name == "text":
        words = data.decode("ascii").split()
        assert all(re.fullmatch(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?", w) for w in words)
        told = np.array([float(word) for word in words]).astype(np.float32)
    elif name == "npy":
        _same_array(data, np.frombuffer(data[-16:], "<f4").reshape(_shape(data)))
        told = np.frombuffer(data[-16:], "<f4")
    else:
        told = np.frombuffer(data, "<f4" if name == "bin" else "<f2").astype(np.float32)
    assert np.array_equal(value[1], told), "other values"


def _shape(data):
    head = 10 + struct.unpack("<H", data[8:10])[0]
    return ast.literal_eval(data[10:head].decode("latin-1").strip())["shape"]


PICKLE_TOKENS = (
    b"cos\nsystem\n", b"cbuiltins\neval\n", b"\x93", b"R", b"b", b"(", b"t", b"2" * 50, b"]" * 50,
    b"\x94" * 50, b"cnumpy\nndarray\n", b"cnumpy.core.multiarray\n_reconstruct\n", b"\x8c\x02os",
    b"r\xff\xff\xff\xff", b"\x8e\xff\xff\xff\xff\xff\xff\xff\x7f", b"cbuiltins\nbytearray\n", b"h\x00",
)  # fmt: skip
JSON_TOKENS = (
    b'"n_images": 3', b'"failures": []', b'{"a":', b"null", b"true", b"[]", b"{}", b'""', b"1e999",
    b'"../../x"', b'"name"', b'"\\ud800"', b",", b":", b'"',
)  # fmt: skip

SUBJECTS = {
    "bin": Subject(_bin_seeds, _bin_read, _bin_check, PICKLE_TOKENS),
    "png": Subject(_png_seeds, _picture_read, _picture_check, PNG_TOKENS),
    "jpeg-bmp": Subject(_jpeg_seeds, _picture_read, _picture_check, JPEG_TOKENS),
    "npz": Subject(_npz_seeds, _npz_read, _npz_check, ARRAY_TOKENS),
    "store": Subject(_store_seeds, _store_read, _store_check, ARRAY_TOKENS + JSON_TOKENS),
    "dump": Subject(_dump_seeds, _dump_read, _dump_check, ARRAY_TOKENS + JSON_TOKENS),
}
