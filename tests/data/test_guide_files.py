"""Files of the guide's form, against a few lines of NumPy that follow its script."""

from __future__ import annotations

from collections import namedtuple
from pathlib import Path

import cv2
import numpy as np
import pytest

from lresnet_utils.data import guide_files
from lresnet_utils.data.guide_files import write_guide_files
from lresnet_utils.errors import DataError

N = 6
SIZE = 150_528


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(7).integers(0, 256, (N, 112, 112, 3), dtype=np.uint8)


SAME = np.array([True, False, True])


def scripts_bytes(rgb):
    """ToTensor, Normalize([.5] * 3, [.5] * 3) and torch.flip(dims=[2]) on OpenCV's BGR."""
    bgr = rgb[:, :, ::-1]
    chw = bgr.transpose(2, 0, 1).astype(np.float32) / np.float32(255)
    chw = (chw - np.float32(0.5)) / np.float32(0.5)
    return chw.astype("<f4").tobytes(), chw[:, :, ::-1].astype("<f4").tobytes()


def write(folder, images, **options):
    return write_guide_files(
        images, folder / "data" / "lfw", folder / "lfw.info", folder / "data" / "lfw_list.npy",
        SAME, **options,
    )  # fmt: skip


def test_bytes_are_those_of_the_script(tmp_path, images):
    told = []
    files = write(tmp_path, images, progress=lambda done, total: told.append((done, total)))
    assert (files.n_images, files.n_files, files.n_written, files.n_kept) == (6, 12, 12, 0)
    assert files.bytes_per_file == SIZE
    for i, image in enumerate(images):
        plain, mirrored = scripts_bytes(image)
        assert (files.folder / f"{i}.bin").read_bytes() == plain
        assert (files.folder / f"{i}_flip.bin").read_bytes() == mirrored
        assert len(plain) == SIZE
    assert told[-1] == (N, N)
    labels = np.load(files.list_path)
    assert labels.dtype == bool
    assert np.array_equal(labels, SAME)
    listed = {path.name for path in files.folder.iterdir() if not path.name.startswith(".")}
    assert len(listed) == 12


def test_info_lines_are_in_natural_order_with_paths_as_asked(tmp_path, images):
    many = np.concatenate([images, images])
    same = np.concatenate([SAME, SAME])
    args = (tmp_path / "data" / "lfw", tmp_path / "lfw.info", tmp_path / "l.npy", same)
    write_guide_files(many, *args)
    lines = (tmp_path / "lfw.info").read_text().splitlines()
    assert lines[:3] == [
        "0 ./data/lfw/0.bin 112 112",
        "1 ./data/lfw/0_flip.bin 112 112",
        "2 ./data/lfw/1.bin 112 112",
    ]
    assert lines[20] == "20 ./data/lfw/10.bin 112 112"
    assert [int(line.split()[0]) for line in lines] == list(range(24))
    write_guide_files(many, *args, paths="absolute")
    first = (tmp_path / "lfw.info").read_text().split()
    assert Path(first[1]) == (tmp_path / "data" / "lfw" / "0.bin").resolve()


def test_slots_give_the_images_of_each_pair(tmp_path, images):
    slots = np.array([2, 2, 0, 5, 1, 4])
    files = write(tmp_path, images, slots=slots)
    for i, slot in enumerate(slots):
        assert (files.folder / f"{i}.bin").read_bytes() == scripts_bytes(images[slot])[0]


def test_a_second_run_keeps_whole_files_and_replaces_cut_ones(tmp_path, images):
    folder = write(tmp_path, images).folder
    (folder / "1_flip.bin").write_bytes(b"half")
    (folder / "4.bin").unlink()
    before = (folder / "0.bin").stat().st_mtime_ns
    again = write(tmp_path, images)
    assert (again.n_written, again.n_kept) == (2, 10)
    assert (folder / "1_flip.bin").read_bytes() == scripts_bytes(images[1])[1]
    assert (folder / "4.bin").read_bytes() == scripts_bytes(images[4])[0]
    assert (folder / "0.bin").stat().st_mtime_ns == before


def test_views_of_other_pictures_are_never_kept(tmp_path, images):
    write(tmp_path, images)
    files = write(tmp_path, 255 - images)
    assert files.n_written == 12
    assert (files.folder / "3.bin").read_bytes() == scripts_bytes(255 - images[3])[0]


def test_an_interrupted_run_leaves_only_whole_files(tmp_path, images, monkeypatch):
    monkeypatch.setattr(guide_files, "_CHUNK", 2)

    def stop(done, total):
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(tmp_path, images, progress=stop)
    folder = tmp_path / "data" / "lfw"
    left = sorted(path for path in folder.iterdir() if path.suffix == ".bin")
    assert len(left) == 8
    assert all(path.stat().st_size == SIZE for path in left)
    assert not (tmp_path / "lfw.info").exists()
    assert write(tmp_path, images).n_written == 4


def test_a_full_disk_is_told_before_anything_is_written(tmp_path, images, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(guide_files.shutil, "disk_usage", lambda _: usage(9e9, 9e9, 1_000_000))
    with pytest.raises(DataError, match=r"0\.00 GB free, but 12 files need 0\.00 GB"):
        write(tmp_path, images)
    assert list(tmp_path.iterdir()) == []


def test_wrong_inputs_are_refused_and_write_nothing(tmp_path, images):
    cases = [
        ({}, images[:4], "3 pairs need 6 images, but there are 4"),
        ({}, images.astype(np.float32), "not uint8"),
        ({}, images[..., 0], "not uint8"),
        ({"slots": np.array([0, 1, 2, 3, 4, 6])}, images, "outside the 6"),
        ({"paths": "short"}, images, "'relative' or 'absolute'"),
    ]
    for options, pictures, message in cases:
        with pytest.raises(DataError, match=message):
            write(tmp_path, pictures, **options)
    assert list(tmp_path.iterdir()) == []


def test_a_path_with_a_space_is_refused(tmp_path, images):
    spaced = tmp_path / "my data"
    with pytest.raises(DataError, match="spaces"):
        write_guide_files(images, spaced, tmp_path / "i", tmp_path / "l.npy", SAME)
    inside = write_guide_files(images, spaced, spaced / "i.info", spaced / "l.npy", SAME)
    assert inside.info_path.read_text().startswith("0 ./0.bin 112 112\n")


def test_a_folder_with_other_inputs_is_refused(tmp_path, images):
    folder = tmp_path / "data" / "lfw"
    folder.mkdir(parents=True)
    (folder / "6.bin").write_bytes(b"of a larger set")
    with pytest.raises(DataError, match=r"1 other files .*6\.bin"):
        write(tmp_path, images)
    assert [path.name for path in folder.iterdir()] == ["6.bin"]


def test_two_hundred_images_stopped_halfway_are_those_of_the_script(tmp_path):
    """The script starts from encoded pictures; so does this: cv2.imdecode gives its BGR."""
    rng = np.random.default_rng(200)
    coarse = rng.integers(0, 256, (200, 14, 14, 3), dtype=np.uint8)
    encoded = [cv2.imencode(".png", cv2.resize(image, (112, 112)))[1] for image in coarse]
    bgr = [cv2.imdecode(data, cv2.IMREAD_COLOR) for data in encoded]
    rgb = np.stack([image[:, :, ::-1] for image in bgr])
    same = np.arange(100) % 2 == 0
    arguments = (rgb, tmp_path / "lfw", tmp_path / "lfw.info", tmp_path / "lfw_list.npy", same)

    def stop_halfway(done, total):
        if done >= total / 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_guide_files(*arguments, progress=stop_halfway)
    assert not (tmp_path / "lfw.info").exists()
    files = write_guide_files(*arguments)
    assert 0 < files.n_kept < files.n_files == 400
    for i, image in enumerate(rgb):
        plain, mirrored = scripts_bytes(image)
        assert (tmp_path / "lfw" / f"{i}.bin").read_bytes() == plain
        assert (tmp_path / "lfw" / f"{i}_flip.bin").read_bytes() == mirrored
    assert len((tmp_path / "lfw.info").read_text().splitlines()) == 400
    assert np.array_equal(np.load(tmp_path / "lfw_list.npy"), same)
