"""Dumps of every convention, whole and damaged."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lresnet_utils.errors import DataError
from lresnet_utils.targets.dumps import read_dump

N, D = 12, 8
FORMS = [
    ("_1", ".txt", np.float32),
    ("_1", ".bin", np.float32),
    ("_1", ".bin", np.float16),
    ("_0", ".bin", np.float32),
    ("_0", ".bin", np.float16),
    ("_0", ".npy", np.float32),
    ("_0", ".npy", np.float16),
    ("_0", ".txt", np.float32),
    ("_output_0", ".bin", np.float16),
    ("_output_0", ".txt", np.float32),
]


def embeddings(n=N, d=D):
    return np.random.default_rng(3).normal(size=(2, n, d)).astype(np.float32)


def put(path, vector, kind, dtype):
    if kind == ".txt":
        path.write_text(" ".join(f"{value:.6f}" for value in vector) + " \n")
    elif kind == ".npy":
        np.save(path, vector[None].astype(dtype))
    else:
        vector.astype(dtype).tofile(path)


def write_dump(folder, mark="_1", kind=".txt", dtype=np.float32, values=None):
    folder.mkdir(exist_ok=True)
    values = embeddings() if values is None else values
    for view, vectors in zip(("", "_flip"), values, strict=True):
        for i, vector in enumerate(vectors):
            put(folder / f"{i}{view}{mark}{kind}", vector, kind, dtype)
    return folder


def message(folder, n_images=N, embedding_size=D, **options):
    with pytest.raises(DataError) as error:
        read_dump(folder, n_images, embedding_size, **options)
    assert len(str(error.value).splitlines()) <= 3
    return str(error.value)


@pytest.mark.parametrize(("mark", "kind", "dtype"), FORMS)
def test_every_convention(tmp_path, mark, kind, dtype):
    folder = write_dump(tmp_path / "out", mark, kind, dtype)
    for read, wanted in zip(read_dump(folder, N, D), embeddings(), strict=True):
        assert read.dtype == np.float32
        if kind == ".txt":
            assert np.abs(read - wanted).max() < 1e-6
        else:
            assert np.array_equal(read, wanted.astype(dtype).astype(np.float32))


def test_one_view_only(tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    plain = embeddings()[0]
    for i, vector in enumerate(plain):
        put(folder / f"{i}_0.bin", vector, ".bin", np.float32)
    (read,) = read_dump(folder, N, D, views=["plain"])
    assert np.array_equal(read, plain)
    assert "12 missing (0_flip_0.bin, 1_flip_0.bin, 2_flip_0.bin, ...)" in message(folder)


def test_text_over_several_lines_is_one_vector(tmp_path):
    folder = write_dump(tmp_path / "out")
    (folder / "3_1.txt").write_text("1 2 3 4\n5 6 7 8\n")
    assert read_dump(folder, N, D)[0][3].tolist() == [1, 2, 3, 4, 5, 6, 7, 8]


def test_one_error_names_missing_surplus_and_bad_results(tmp_path):
    folder = write_dump(tmp_path / "out")
    for name in ("10_1.txt", "2_1.txt", "7_flip_1.txt", "11_1.txt"):
        (folder / name).unlink()
    (folder / "12_1.txt").write_text("1 " * D)
    (folder / "notes.md").write_text("stray")
    (folder / "0_1.txt").write_text("1 2 3")
    (folder / "1_1.txt").write_text("1 " * (D - 1) + "nan")
    (folder / "5_flip_1.txt").write_text("1 " * (D - 1) + "x")
    text = message(folder)
    assert "Of 24 results expected, 4 missing (2_1.txt, 7_flip_1.txt, 10_1.txt, ...)" in text
    assert "2 surplus (12_1.txt, notes.md)" in text
    assert "3 bad (0_1.txt: 3 values instead of 8, 1_1.txt: a value is NaN or infinite, " in text
    assert "5_flip_1.txt: not a text of numbers" in text
    assert str(folder) in text


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (np.zeros(D, np.float32).tobytes(), "every value is zero"),
        (np.full(D, np.inf, np.float32).tobytes(), "NaN or infinite"),
        (np.ones(D + 1, np.float32).tobytes(), "36 bytes are not 8 values"),
        (b"", "0 bytes"),
        (np.ones(D, np.float16).tobytes(), "files of float16 and float32"),
    ],
)
def test_bad_binary_results(tmp_path, content, why):
    folder = write_dump(tmp_path / "out", "_output_0", ".bin")
    (folder / "4_output_0.bin").write_bytes(content)
    assert why in message(folder)


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY\x01\0", b"cposix\nsystem\n(S'id'\ntR."])
def test_bad_array_files(tmp_path, content):
    folder = write_dump(tmp_path / "out", "_0", ".npy")
    (folder / "4_0.npy").write_bytes(content)
    assert "1 bad (4_0.npy: not an array file)" in message(folder)


def test_array_files_of_objects_or_other_numbers_are_bad(tmp_path):
    folder = write_dump(tmp_path / "out", "_0", ".npy")
    np.save(folder / "4_0.npy", np.array([object()] * D), allow_pickle=True)
    np.save(folder / "5_0.npy", np.arange(D))
    text = message(folder)
    assert "4_0.npy: not an array file" in text
    assert "5_0.npy: not an array of float16 or float32" in text


def test_folders_that_are_no_dump(tmp_path):
    assert "does not exist" in message(tmp_path / "absent")
    (tmp_path / "2024_01_01-00_00_00").mkdir()
    text = message(tmp_path)
    assert "no result of a known tool" in text
    assert "perhaps" in text
    assert "2024_01_01-00_00_00" in text


def test_mixed_forms_are_refused_but_a_stray_one_is_surplus(tmp_path):
    folder = write_dump(write_dump(tmp_path / "out", "_1", ".txt"), "_0", ".bin")
    assert "mixes results of several forms" in message(folder)
    one = write_dump(tmp_path / "one", values=embeddings(60))
    put(one / "0_0.bin", np.ones(D, np.float32), ".bin", np.float32)
    assert "1 surplus (0_0.bin)" in message(one, 60)


def ais_summary(folder, outputs):
    entries = {
        str(i): {"infiles": [f"/data/lfw/{source}.bin"], "outfiles": [str(folder / result)]}
        for i, (source, result) in enumerate(outputs)
    }
    path = folder.parent / f"{folder.name}_summary.json"
    path.write_text(json.dumps({"filesinfo": entries, "throughput": 1.0}))


def test_the_summary_of_ais_bench_is_believed_only_if_it_fits(tmp_path):
    folder = write_dump(tmp_path / "run", "_0", ".bin")
    stems = [f"{i}{view}" for view in ("", "_flip") for i in range(N)]
    ais_summary(folder, [(stem, f"{stem}_0.bin") for stem in stems])
    assert len(read_dump(folder, N, D)) == 2
    ais_summary(folder, [(stem, f"{stem}_0.bin") for stem in stems[1:]])
    assert "0_0.bin: not among the results of run_summary.json" in message(folder)
    swapped = [("1", "0_0.bin"), ("0", "1_0.bin"), *((s, f"{s}_0.bin") for s in stems[2:])]
    ais_summary(folder, swapped)
    assert "run_summary.json says that 0_0.bin is of 1.bin" in message(folder)
    (tmp_path / "run_summary.json").write_text("{")
    assert "not ais_bench's account" in message(folder)


def test_summaries_inside_the_folder_are_passed_over(tmp_path):
    folder = write_dump(tmp_path / "run", "_0", ".txt")
    (folder / "sumary.json").write_text("{}")
    (folder / ".hidden").write_text("")
    assert len(read_dump(folder, N, D)) == 2


@settings(max_examples=25)
@given(gone=st.sets(st.integers(0, 2 * N - 1), max_size=2 * N - 1))
def test_exactly_the_missing_results_are_counted(tmp_path_factory, gone):
    folder = write_dump(tmp_path_factory.mktemp("dump") / "out", "_0", ".bin")
    stems = [f"{i}{view}_0.bin" for view in ("", "_flip") for i in range(N)]
    for index in gone:
        (folder / stems[index]).unlink()
    if gone:
        text = message(folder)
        assert f"Of 24 results expected, {len(gone)} missing (" in text
        assert any(stems[index] in text for index in gone)
        assert not any(f"({stem}," in text for i, stem in enumerate(stems) if i not in gone)
    else:
        assert len(read_dump(folder, N, D)) == 2
