"""Similarity transforms against scipy's Procrustes and exact cases; faces of the packaged set."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize

from lresnet_utils.data import align, packaged
from lresnet_utils.data.align import ARCFACE_TEMPLATE, find_and_align, find_faces, similarity


def matrix_of(scale, angle, x, y):
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    return np.array([[cos, -sin, x], [sin, cos, y]])


def moved(matrix, points):
    return points @ matrix[:, :2].T + matrix[:, 2]


@given(st.floats(0.1, 10), st.floats(-3.1, 3.1), st.floats(-200, 200), st.floats(-200, 200))
def test_an_exact_similarity_is_found(scale, angle, x, y):
    true = matrix_of(scale, angle, x, y)
    found = similarity(ARCFACE_TEMPLATE, moved(true, ARCFACE_TEMPLATE))
    np.testing.assert_allclose(found, true, atol=1e-9 * (1 + abs(x) + abs(y)))


@pytest.mark.parametrize("seed", range(5))
def test_noisy_points_have_the_least_squares_solution(seed):
    """Against a numerical search over scale, angle and shift."""
    generator = np.random.default_rng(seed)
    source = ARCFACE_TEMPLATE + generator.normal(0, 8, (5, 2))

    def cost(p):
        matrix = np.array([[p[0], -p[1], p[2]], [p[1], p[0], p[3]]])
        return ((moved(matrix, source) - ARCFACE_TEMPLATE) ** 2).sum()

    best = minimize(cost, [1, 0, 0, 0], method="BFGS", options={"gtol": 1e-10})
    found = similarity(source, ARCFACE_TEMPLATE)
    ours = ((moved(found, source) - ARCFACE_TEMPLATE) ** 2).sum()
    assert ours <= best.fun + 1e-7
    np.testing.assert_allclose(found[0, :2], best.x[:2] * [1, -1], atol=1e-4)


def test_a_mirrored_face_is_never_mirrored_back():
    mirrored = ARCFACE_TEMPLATE * [-1, 1]
    found = similarity(mirrored, ARCFACE_TEMPLATE)
    assert np.linalg.det(found[:, :2]) > 0


@pytest.mark.parametrize(
    "source, destination",
    [(np.ones((5, 2)), ARCFACE_TEMPLATE), (ARCFACE_TEMPLATE[:4], ARCFACE_TEMPLATE),
     (np.ones((5, 3)), np.ones((5, 3)))],
)  # fmt: skip
def test_impossible_points_are_refused(source, destination):
    with pytest.raises(ValueError):
        similarity(source, destination)


@pytest.fixture(scope="module")
def faces():
    files = packaged.orl_files()[::40]
    return [cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) for _, path in files]


def test_aligned_faces_have_their_landmarks_on_the_template(faces):
    for grey in faces:
        aligned = find_and_align(grey)
        assert aligned.shape == (112, 112, 3) and aligned.dtype == np.uint8
        assert (aligned == aligned[..., :1]).all()
        distance = np.linalg.norm(find_faces(aligned)[0] - ARCFACE_TEMPLATE, axis=1)
        assert distance.mean() < 6


def test_landmarks_follow_a_shifted_and_enlarged_face(faces):
    grey = faces[0]
    shifted = np.zeros((300, 260), np.uint8)
    shifted[100:212, 80:172] = grey
    here, there = find_faces(grey)[0], find_faces(shifted)[0]
    assert abs(there - [80, 100] - here).mean() < 2
    enlarged = cv2.resize(grey, None, fx=16, fy=16, interpolation=cv2.INTER_CUBIC)
    bigger = find_faces(enlarged)[0]
    assert abs((bigger + 0.5) / 16 - 0.5 - here).mean() < 2


def scene_of(faces):
    """A large face at the left edge, a smaller one in the middle of 500x300."""
    scene = np.full((300, 500), 90, np.uint8)
    scene[40:264, :184] = cv2.resize(faces[1], (184, 224))
    scene[80:220, 195:310] = cv2.resize(faces[0], (115, 140))
    return scene


def test_all_faces_are_found_and_which_is_meant_is_asked(faces):
    scene = scene_of(faces)
    for central in (False, True):
        found = find_faces(scene, central=central)
        assert found.shape == (2, 5, 2)
        assert 195 < found[0, :, 0].min() < found[0, :, 0].max() < 310, "the one in the middle"
    assert len(find_faces(np.full((60, 60), 128, np.uint8))) == 0
    face = find_and_align(scene)
    assert np.linalg.norm(find_faces(face)[0] - ARCFACE_TEMPLATE, axis=1).mean() < 6


def insightface_choice(boxes, width, height):
    """As ``FaceAnalysis.get`` of InsightFace 0.7 with ``max_num=1`` chooses by its default."""
    det = np.array([[x, y, x + w, y + h] for x, y, w, h in boxes])
    area = (det[:, 2] - det[:, 0]) * (det[:, 3] - det[:, 1])
    across = (det[:, 0] + det[:, 2]) / 2 - width / 2, (det[:, 1] + det[:, 3]) / 2 - height / 2
    return int(np.argmax(area - 2.0 * (across[0] ** 2 + across[1] ** 2)))


@given(
    st.lists(
        st.tuples(*(st.integers(*ends) for ends in ((0, 300), (0, 200), (5, 300), (5, 200)))),
        min_size=2,
        max_size=6,
        unique=True,
    )
)
def test_the_face_that_is_meant_is_the_one_that_insightface_takes(boxes):
    """The detector's own boxes are replaced; each face's landmarks all hold its number."""

    class Detector:
        def setInputSize(self, size):  # noqa: N802 - OpenCV's name
            assert size == (400, 300)

        def detect(self, image):
            rows = [[*box, *[number] * 10, 0.9] for number, box in enumerate(boxes)]
            return 1, np.array(rows, np.float32)

    scene = np.zeros((300, 400), np.uint8)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(align, "_detector", Detector)
        weighed, central = find_faces(scene), find_faces(scene, central=True)
    assert sorted(weighed[:, 0, 0]) == sorted(central[:, 0, 0]) == list(range(len(boxes)))
    assert weighed[0, 0, 0] == insightface_choice(boxes, 400, 300)
    away = [(x + w / 2 - 200) ** 2 + (y + h / 2 - 150) ** 2 for x, y, w, h in boxes]
    assert away[int(central[0, 0, 0])] == min(away)


def test_same_picture_same_result_in_grey_or_colour(faces):
    grey = faces[3]
    first = find_and_align(grey)
    find_and_align(cv2.resize(grey, (200, 260)))
    np.testing.assert_array_equal(find_and_align(grey), first)
    np.testing.assert_array_equal(find_and_align(cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR)), first)


def test_no_face_gives_none_and_nothing_is_printed(capfd):
    align._detector.cache_clear()
    for shape in ((112, 92), (1, 1), (3000, 2), (64, 64, 3)):
        assert find_and_align(np.full(shape, 128, np.uint8)) is None
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("image", [np.zeros((5, 5)), np.zeros((5, 5, 4), np.uint8),
                                   np.zeros((0, 5), np.uint8)])  # fmt: skip
def test_what_is_not_a_picture_is_refused(image):
    with pytest.raises(ValueError, match="picture"):
        find_and_align(image)
