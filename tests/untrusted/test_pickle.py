"""The reader of plain pickles against Python's own unpickler, and against hostile files."""

import contextlib
import functools
import io
import os
import pickle
import pickletools
import struct
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lresnet_utils.untrusted import pickle as plain_pickle
from lresnet_utils.untrusted.pickle import PlainPickleError, load_plain

PROTOCOLS = st.integers(0, 5)
LEAVES = (
    st.binary(max_size=40)
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.text(max_size=12)
    | st.none()
)
PLAIN = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.lists(inner, max_size=4).map(tuple),
    max_leaves=20,
)


@given(PLAIN, PROTOCOLS)
def test_plain_data_is_read_as_python_reads_it(value, protocol):
    written = pickle.dumps(value, protocol)
    assert load_plain(written) == pickle.loads(written) == value
    assert load_plain(pickletools.optimize(written)) == value


@given(
    hnp.arrays(
        st.sampled_from([np.uint8, np.bool_, np.int64, np.dtype(">i4")]),
        hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=5),
    ),
    PROTOCOLS,
    st.booleans(),
)
def test_arrays_are_read_as_numpy_reads_them(array, protocol, fortran):
    array = np.asfortranarray(array) if fortran else array
    (read,) = load_plain(pickle.dumps([array], protocol))
    assert read.dtype == array.dtype
    np.testing.assert_array_equal(read, array if array.size else np.zeros(0, array.dtype))


@pytest.mark.parametrize("protocol", range(6))
def test_arrays_that_share_a_type_of_foreign_order_have_the_same_numbers(protocol):
    dtype = np.dtype(">i4")
    read = load_plain(pickle.dumps([np.arange(3, dtype=dtype)] * 2, protocol))
    assert [array.tolist() for array in read] == [[0, 1, 2], [0, 1, 2]]
    read = load_plain(
        pickle.dumps([np.arange(3, dtype=dtype), np.arange(3, dtype=dtype)], protocol)
    )
    assert [array.tolist() for array in read] == [[0, 1, 2], [0, 1, 2]]


@pytest.mark.parametrize("protocol", range(6))
def test_numpy_scalars_and_bytearrays(protocol):
    value = [np.True_, np.False_, np.uint8(7), np.int64(-3), bytearray(b"\x00\xff"), bytearray()]
    read = load_plain(pickle.dumps(value, protocol))
    assert read == [True, False, 7, -3, b"\x00\xff", b""]
    assert [type(item) for item in read] == [bool, bool, int, int, bytes, bytes]


def test_python_2_strings_of_every_protocol():
    long = b"\xff\xd8" + bytes(range(256))
    text = b"S" + b"'\\xff\\xd8\\n\\'q'" + b"\np0\n."
    assert load_plain(text) == b"\xff\xd8\n'q"
    assert load_plain(b'S"it\'s"\n.') == b"it's"
    assert load_plain(rb"S'\\d\t\\'" + b"\n.") == b"\\d\t\\"
    assert load_plain(b"\x80\x02U\x03\x00a\xffq\x00.") == b"\x00a\xff"
    assert load_plain(b"\x80\x02T" + struct.pack("<i", len(long)) + long + b".") == long


@pytest.mark.parametrize("text", [rb"'\d'", rb"'\\\400'", rb"'\xg0'", b"'", b"'a\"", b"abc"])
def test_strings_that_python_2_never_wrote_are_refused(text):
    with pytest.raises(PlainPickleError, match="string"):
        load_plain(b"S" + text + b"\n.")


def test_python_2_array():
    """What Python 2 and NumPy 1 wrote for array([[1], [2]], uint8), protocol 2."""
    written = (
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\nq\x01cnumpy\nndarray\nq\x02K\x00\x85U\x01b"
        b"\x87Rq\x03(K\x01K\x02K\x01\x86cnumpy\ndtype\nq\x04U\x02u1K\x00K\x01\x87Rq\x05(K\x03U\x01|"
        b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U\x02\x01\x02tb."
    )
    expected = pickle.loads(written, encoding="bytes")
    np.testing.assert_array_equal(load_plain(written), expected)
    assert expected.tolist() == [[1], [2]]


def test_a_repeated_object_stays_one_object():
    picture = os.urandom(20)
    first, second = load_plain(pickle.dumps([picture, picture], 2))
    assert first is second and first == picture


class Runs:
    """An object whose pickle calls a function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def hostile(marker):
    touch = f"touch {marker}"
    yield "system", pickle.dumps(Runs(os.system, touch), 2)
    yield "system, protocol 0", b"cposix\nsystem\n(S'" + touch.encode() + b"'\ntR."
    yield "system, inst", b"(S'" + touch.encode() + b"'\nios\nsystem\n."
    yield "eval, protocol 4", pickle.dumps(Runs(eval, f"open({str(marker)!r}, 'w')"), 4)
    yield "open in an argument", pickle.dumps([b"x", Runs(open, str(marker), "w")], 3)
    yield "partial", pickle.dumps(functools.partial(os.system, touch))
    yield "numpy's own loader", b"cnumpy\nload\n(S'x'\ntR."
    yield "numpy deep attribute", b"\x80\x04\x8c\x05numpy\x8c\x11ndarray.__class__\x93."
    yield "numpy f2py", b"cnumpy.f2py\ncompile\n(S'x'\ntR."
    yield "another codec", b"c_codecs\nencode\n(Vx\nS'idna'\ntR."
    yield "new object", b"\x80\x02cnumpy\nndarray\n(K\x01t\x81."
    yield "state on a name", b"c_codecs\nencode\n(K\x01K\x02tb."
    yield "called twice", b"cnumpy\nndarray\n(K\x05tR."
    yield "persistent", b"Pos.system\n."
    yield "extension", b"\x80\x02\x82\x01."
    yield "dictionary", pickle.dumps({"a": 1})
    yield "set", pickle.dumps({1})
    yield "class", pickle.dumps(Runs)
    yield "objects", pickle.dumps(np.array([Runs(os.system, touch)], object))
    yield "objects, empty", pickle.dumps(np.zeros(0, object), 2)
    yield "records", pickle.dumps(np.zeros(2, [("a", "u1"), ("b", "u1")]))
    yield "future protocol", b"\x80\x09N."
    yield "unknown opcode", b"\xfeN."


def test_nothing_is_run(tmp_path):
    marker = tmp_path / "run"
    for name, written in hostile(marker):
        with pytest.raises(PlainPickleError):
            load_plain(written)
        assert not marker.exists(), name


def test_the_name_asked_for_is_told():
    with pytest.raises(PlainPickleError, match=r"asks for (posix|nt)\.system"):
        load_plain(pickle.dumps(os.system))


HUGE = 2**40
BOMBS = {
    "bytearray of a number": b"cbuiltins\nbytearray\n(L%dL\ntR." % HUGE,
    "bytes announced": b"\x80\x04\x8e" + struct.pack("<Q", HUGE) + b"x.",
    "bytearray announced": b"\x80\x05\x96" + struct.pack("<Q", HUGE) + b"x.",
    "text announced": b"\x80\x04\x8d" + struct.pack("<Q", HUGE) + b"x.",
    "frame announced": b"\x80\x04\x95" + struct.pack("<Q", HUGE) + b"N.",
    "negative length": b"\x80\x02T" + struct.pack("<i", -5) + b"x.",
    "long number": b"\x80\x02\x8b" + struct.pack("<i", 2**30) + b"x.",
    "memo index": b"\x80\x02K\x01r\xff\xff\xff\xff.",
    "ndarray of a shape": b"cnumpy\nndarray\n((L%dL\nttR." % HUGE,
    "empty lists": b"\x80\x02(" + b"]" * 200_000 + b"l.",
    "memo entries": b"\x80\x04N" + b"\x94" * 200_000 + b".",
}


@pytest.mark.parametrize("name", BOMBS)
def test_memory_is_bounded_by_the_size(name):
    written = BOMBS[name]
    tracemalloc.start()
    try:
        if name == "memo index":
            assert load_plain(written) == 1
        else:
            with pytest.raises(PlainPickleError):
                load_plain(written)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 100_000 + 60 * len(written)


def array_pickle(shape, raw, dtype=b"u1"):
    """Return a protocol 2 pickle of an array with any shape and content."""
    sides = b"".join(b"\x8a\x08" + struct.pack("<q", side) for side in shape)
    return (
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85U\x01btR"
        b"(K\x01(" + sides + b"tcnumpy\ndtype\n(U" + bytes([len(dtype)]) + dtype + b"K\x00K\x01tR"
        b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89"
        b"B" + struct.pack("<I", len(raw)) + raw + b"tb."
    )


@pytest.mark.parametrize(
    "shape, raw, dtype",
    [
        ((2**62,), b"abc", b"u1"),
        ((2**32, 2**32), b"", b"u1"),
        ((-3,), b"abc", b"u1"),
        ((4,), b"abc", b"u1"),
        ((1,), b"x" * 8, b"O"),
        ((1,), b"x" * 8, b"O8"),
        ((1,), b"x", b"V1000000000000"),
        ((1,) * 70, b"x", b"u1"),
    ],
)
def test_arrays_that_lie_are_refused(shape, raw, dtype):
    with pytest.raises(PlainPickleError):
        load_plain(array_pickle(shape, raw, dtype))


def test_the_hand_made_array_pickle_is_right():
    written = array_pickle((2, 2), b"abcd")
    np.testing.assert_array_equal(load_plain(written), pickle.loads(written))


@settings(max_examples=300)
@given(st.data())
def test_damage_gives_data_or_a_plain_error(data):
    """Any change of any bytes: never another exception, never anything but data."""
    value = ([b"abc", np.arange(3, dtype=np.uint8), bytearray(b"z")], [True, np.True_])
    written = bytearray(pickle.dumps(value, data.draw(PROTOCOLS)))
    for _ in range(data.draw(st.integers(1, 4))):
        written[data.draw(st.integers(0, len(written) - 1))] = data.draw(st.integers(0, 255))
    try:
        load_plain(bytes(written))
    except PlainPickleError as error:
        assert len(str(error)) < 300


@settings(max_examples=300)
@given(st.lists(st.sampled_from(pickletools.opcodes).map(lambda o: o.code), max_size=12), st.data())
def test_random_programs_end_in_data_or_a_plain_error(codes, data):
    program = b"".join(code.encode("latin-1") + data.draw(st.binary(max_size=3)) for code in codes)
    start = data.draw(st.sampled_from([b"", pickle.dumps([np.zeros(2)], 2)[:-1], b"(K\x01]"]))
    with contextlib.suppress(PlainPickleError):
        load_plain(start + program + b".")


def test_every_truncation_is_noticed():
    written = pickle.dumps(([b"x" * 300, np.zeros(50, np.uint8)], [True]), 4)
    for end in range(len(written)):
        with pytest.raises(PlainPickleError):
            load_plain(written[:end])
    with pytest.raises(PlainPickleError, match="after its end"):
        load_plain(written + b"\x00")


def test_every_opcode_is_either_known_or_refused_by_name():
    """So that a new opcode of Python cannot pass unseen."""
    for opcode in pickletools.opcodes:
        if opcode.code == ".":
            continue
        with pytest.raises(PlainPickleError) as caught:
            load_plain(opcode.code.encode("latin-1"))
        assert "unknown instruction" not in str(caught.value), opcode.name


def test_python_2_reader_agrees_on_a_stream():
    """pickle.load of the same bytes as a file, the way InsightFace opens a set."""
    written = pickle.dumps(([b"\xff\xd8", b"q"], [False]), 2)
    assert load_plain(written) == pickle.load(io.BytesIO(written), encoding="bytes")


def test_what_is_remembered_is_not_made_of_bytes_again_and_again():
    text = b"X" + (10_000).to_bytes(4, "little") + b"a" * 10_000 + b"q\x000"
    encode = b"c_codecs\nencode\nq\x010X\x06\0\0\0latin1q\x020"
    made = b"h\x01h\x00h\x02\x86R0"
    with pytest.raises(PlainPickleError, match="more bytes than a file of its size"):
        load_plain(b"\x80\x02" + text + encode + made * 3 + b"N.")
    assert load_plain(b"\x80\x02" + text + encode + made + b"N.") is None


def test_an_array_in_the_place_of_a_shape_is_refused():
    shape = pickle.dumps(np.arange(2, dtype=np.uint8), 2)[2:-1]
    head = b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n"
    with pytest.raises(PlainPickleError, match="does not begin as NumPy's do"):
        load_plain(head + shape + b"U\x01b\x87R.")


@pytest.mark.parametrize("instruction", [b"2", b"N"])
def test_a_program_of_nothing_but_short_instructions_comes_to_an_end(instruction, monkeypatch):
    """A set may have 2 GB: at a million instructions a second that is half an hour."""
    monkeypatch.setattr(plain_pickle, "MAX_INSTRUCTIONS", 1000)
    program = b"\x80\x04](K\x01" + instruction * 900
    assert len(load_plain(program + b"e.")) == 901
    with pytest.raises(PlainPickleError, match="over 1,000 instructions"):
        load_plain(program + instruction * 1000 + b"e.")
