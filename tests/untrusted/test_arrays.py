"""Array files: read as NumPy reads them when whole, refused where NumPy looks away."""

import io
import tracemalloc
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lresnet_utils.errors import DataError
from lresnet_utils.machine.disk import read_arrays, write_arrays
from lresnet_utils.untrusted.arrays import ArrayFileError, map_npy, parse_npy

ARRAYS = hnp.arrays(
    st.sampled_from([np.float32, np.float64, np.int32, np.uint8, np.bool_, np.dtype(">i2")]),
    hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4),
)


def npy(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


@given(ARRAYS, st.booleans())
def test_arrays_are_read_as_numpy_reads_them(array, fortran):
    data = npy(np.asfortranarray(array) if fortran else array)
    read, expected = parse_npy(data), np.load(io.BytesIO(data))
    assert read.dtype == expected.dtype and read.shape == expected.shape
    np.testing.assert_array_equal(read, expected)


def test_what_is_written_reads_back_and_can_be_changed(tmp_path):
    path = write_arrays(tmp_path / "a.npz", x=np.arange(3), y=np.ones((2, 2)))
    read = read_arrays(path)
    read["x"][0] = 7
    assert read["x"].tolist() == [7, 1, 2] and read["y"].sum() == 4


def header(shape, descr="'<f4'"):
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}"
    text += " " * (-(len(text) + 11) % 64) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


@pytest.mark.parametrize(
    "data",
    [
        header("(3,)") + b"\0" * 11,
        header("(3,)") + b"\0" * 13,
        header("(99999999, 99999999)"),
        header("(-1,)") + b"\0" * 4,
        header("(0, 4611686018427387904)"),
        header("(2,)", "'|O'") + b"\0" * 16,
        header("(2,)", "'<U1'") + b"\0" * 8,
        header("(2,)", "[('a', '<f4')]") + b"\0" * 8,
        header("(" + "(" * 3000) + b"\0",
        b"\x93NUMPY\x03\x00" + npy(np.zeros(2))[8:],
        b"cos\nsystem\n(S'id'\ntR.",
        b"",
    ],
)
def test_headers_that_lie_are_refused_and_cost_nothing(data):
    tracemalloc.start()
    with pytest.raises(ArrayFileError):
        parse_npy(data)
    assert tracemalloc.get_traced_memory()[1] < 2_000_000
    tracemalloc.stop()


def test_a_header_changed_inside_an_archive_is_noticed(tmp_path):
    """NumPy reads fewer bytes then, never meets the checksum and returns a part of the array."""
    path = write_arrays(tmp_path / "a.npz", x=np.arange(12_000, dtype=np.float32))
    path.write_bytes(path.read_bytes().replace(b"(12000,)", b"(2,)    "))
    with np.load(path) as archive:
        assert len(archive["x"]) == 2
    with pytest.raises(DataError, match="damaged"):
        read_arrays(path)


@pytest.mark.parametrize("before", [True, False])
def test_two_archives_in_one_file_are_refused(tmp_path, before):
    for name in ("own", "other"):
        np.savez(tmp_path / name, a=np.ones(3))
    own, other = ((tmp_path / f"{name}.npz").read_bytes() for name in ("own", "other"))
    (tmp_path / "x.npz").write_bytes(other + own if before else own + other)
    with pytest.raises(DataError, match="do not begin where the file does"):
        read_arrays(tmp_path / "x.npz")


def test_compressed_archives_and_strangers_in_them_are_refused(tmp_path):
    bomb = tmp_path / "bomb.npz"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", header("(25000000,)") + b"\0" * 100_000_000)
    assert bomb.stat().st_size < 200_000
    with pytest.raises(DataError, match="compressed"):
        read_arrays(bomb)
    with zipfile.ZipFile(bomb, "w") as archive:
        archive.writestr("../../x.txt", b"hello")
    with pytest.raises(DataError, match="no array"):
        read_arrays(bomb)


def test_a_mapped_file_has_the_shape_type_and_length_that_are_known(tmp_path):
    path = tmp_path / "a.npy"
    np.save(path, np.zeros((2, 3), np.uint8))
    mapped = map_npy(path, (2, 3), np.uint8)
    assert mapped.shape == (2, 3) and not mapped.flags.writeable
    for shape, dtype in (((3, 2), np.uint8), ((2, 3), np.int8)):
        with pytest.raises(ArrayFileError):
            map_npy(path, shape, dtype)
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(ArrayFileError, match="another length"):
        map_npy(path, (2, 3), np.uint8)
