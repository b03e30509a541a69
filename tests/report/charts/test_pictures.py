import base64
import re

import cv2
import numpy as np
import pytest

from lresnet_utils.errors import DataError
from lresnet_utils.report.charts.pictures import FaceSheetDisplay, PairSheetDisplay, data_uri


def test_data_uri_holds_the_picture_in_rgb_order():
    image = np.zeros((16, 16, 3), np.uint8)
    image[..., 0] = 200
    head, _, payload = data_uri(image).partition(",")
    assert head == "data:image/jpeg;base64"
    decoded = cv2.imdecode(np.frombuffer(base64.b64decode(payload), np.uint8), cv2.IMREAD_COLOR)
    assert np.abs(decoded[..., ::-1].astype(int) - image).max() < 6


@pytest.mark.parametrize(
    "image", [np.zeros((4, 4, 3)), np.zeros((4, 4), np.uint8), np.zeros((0, 4, 3), np.uint8)]
)
def test_other_arrays_are_refused(image):
    with pytest.raises(DataError, match="must be uint8"):
        data_uri(image)


@pytest.fixture
def faces():
    return np.random.default_rng(0).integers(0, 255, (4, 112, 112, 3)).astype(np.uint8)


def test_pair_sheet_shows_both_faces_and_the_verdict_of_every_pair(faces):
    sheet = PairSheetDisplay(
        faces, np.array([0, 2, 0, 1]), np.array([1, 3, 2, 3]), np.array([1.7, 1.4, 1.2, 1.0]),
        np.array([True, False, False, True]), threshold=1.4,
    )  # fmt: skip
    html = sheet.html()
    sources = re.findall(r'src="([^"]+)"', html)
    assert sources == [data_uri(faces[i]) for i in (0, 1, 2, 3, 0, 2, 1, 3)]
    assert html.count("<img ") == html.count(" alt=") == 8
    # A distance equal to the threshold is not below it.
    assert [sheet.verdict(i) for i in range(4)] == [
        "same person, missed",
        "different people, told apart",
        "different people, let in",
        "same person, found",
    ]
    assert "4 pairs of faces with distances 1.000 to 1.700; 2 of them" in sheet.describe()


def test_a_sheet_without_pairs_says_so(faces):
    none = np.array([], int)
    sheet = PairSheetDisplay(faces, none, none, none.astype(float), none.astype(bool), 1.4)
    assert sheet.describe() == "No pairs to show."


def test_face_sheet_has_one_described_strip_per_variant(faces):
    sheet = FaceSheetDisplay({"aligned": faces[:3], "<b>": faces[1:]})
    html = sheet.html()
    assert 'alt="3 faces, aligned"' in html
    assert "<b>" not in html
    assert "&lt;b&gt;" in html
    assert sheet.describe() == "3 face images in 2 variants: aligned and <b>."
