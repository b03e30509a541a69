"""Sets from folders and lists: which pairs they hold, and what is refused."""

import io
import os
import pickle

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import KFold

from lresnet_utils.data.align import find_and_align
from lresnet_utils.data.collection import (
    NO_FACE,
    Asked,
    FileFaces,
    collect,
    deal_people,
    draw_folds,
)
from lresnet_utils.data.images import MAX_PIXELS, decode_photograph, encode_png
from lresnet_utils.data.inside import inside
from lresnet_utils.data.pack import pack
from lresnet_utils.data.packaged import orl_files
from lresnet_utils.data.source import build_source, check_source, describe_source
from lresnet_utils.errors import DataError, ParamsError
from lresnet_utils.running.resume import sources


def picture(value):
    """A 112x112 picture that no other value gives."""
    image = np.zeros((112, 112, 3), np.uint8)
    image[: 1 + value // 100, : 1 + value % 100] = (value % 251, 90, value // 251)
    return encode_png(image)


def people_folder(folder, sizes):
    """Folders p00, p01, ... with as many aligned pictures as `sizes` says."""
    number = 0
    for person, size in enumerate(sizes):
        (folder / f"p{person:02d}").mkdir(parents=True)
        for index in range(size):
            (folder / f"p{person:02d}" / f"{index}.png").write_bytes(picture(number))
            number += 1
    return folder


def insightface_reader(path):
    """As recognition/arcface_torch/eval/verification.py reads a set: pickle, bytes, labels."""
    with path.open("rb") as file:
        bins, issame = pickle.load(file, encoding="bytes")
    images = [cv2.imdecode(np.frombuffer(b, np.uint8), cv2.IMREAD_COLOR)[..., ::-1] for b in bins]
    assert len(images) == 2 * len(issame)
    return images, issame


# Drawing


@settings(max_examples=25)
@given(
    st.lists(st.integers(1, 9), min_size=6, max_size=30).filter(
        lambda sizes: sum(size > 1 for size in sizes) >= 3
    )
)
def test_drawn_folds_are_balanced_distinct_and_share_nobody(sizes):
    folds = 3
    people = np.repeat(np.arange(len(sizes)), sizes)
    own = [np.flatnonzero(people == person).tolist() for person in range(len(sizes))]
    drawn = draw_folds(own, deal_people(sizes, folds), folds, "here")
    left, right, same = drawn
    assert (left < right).all() and len(set(zip(*drawn[:2], strict=True))) == len(left)
    np.testing.assert_array_equal(people[left] == people[right], same)
    seen = []
    for _, test in KFold(folds).split(left):
        assert same[test].sum() * 2 == len(test) > 0
        seen.append({*people[left[test]], *people[right[test]]})
    assert sum(len(fold) for fold in seen) == len(set.union(*seen))
    again = draw_folds(own, deal_people(sizes, folds), folds, "here")
    assert all(np.array_equal(a, b) for a, b in zip(drawn, again, strict=True))


def test_no_one_with_many_pictures_takes_all_genuine_pairs():
    own = [list(range(200)), *([200 + 3 * p + i for i in range(3)] for p in range(150))]
    left, _, same = draw_folds(own, np.zeros(151, int), 1, "here")
    of_first = int((left[same] < 200).sum())
    assert same.sum() == 300 and of_first == 2, "two rounds over 151 people are 302 pairs"


def test_who_has_a_genuine_pair_does_not_follow_from_the_order_of_names():
    own = [[2 * person, 2 * person + 1] for person in range(900)]
    left, _, same = draw_folds(own, np.zeros(900, int), 1, "here")
    thirds = np.bincount(left[same] // 600, minlength=3)
    assert thirds.sum() == 300 and thirds.min() > 70


def test_too_few_people_are_refused_with_numbers():
    with pytest.raises(DataError, match="5 people, 2 of them with two pictures"):
        draw_folds([[0, 1], [2, 3], [4], [5], [6]], deal_people([2, 2, 1, 1, 1], 3), 3, "here")


# Folders of people


def test_a_folder_of_people_becomes_a_store_and_a_bin(tmp_path):
    folder = people_folder(tmp_path / "faces", [3, 4, 1, 5, 2, 3])
    (folder / "p00" / "notes.txt").write_text("not a picture")
    store = build_source(folder, tmp_path / "store", folds=2)
    assert store.folds == 2 and store.record["kind"] == "folder of people"
    assert store.record["n_aligned"] == 0, "112x112 is taken as aligned"
    np.testing.assert_array_equal(
        store.identity[store.left] == store.identity[store.right], store.same
    )
    half = store.n_pairs // 2
    sides = [{*store.identity[store.left[s]], *store.identity[store.right[s]]}
             for s in (slice(half), slice(half, None))]  # fmt: skip
    assert not sides[0] & sides[1]
    packed = [pack(folder, tmp_path / f"{n}.bin", folds=2) for n in "ab"]
    assert packed[0].sha256 == packed[1].sha256 and packed[0].folds == 2
    images, issame = insightface_reader(packed[0].path)
    assert issame == store.same.tolist() and {type(label) for label in issame} == {bool}
    slots = np.stack([store.left, store.right], axis=1).ravel()
    np.testing.assert_array_equal(images, store.images()[slots])
    # The pairs are the same whichever way they come.
    other = build_source(packed[0].path, tmp_path / "other")
    assert other.record["pairs_sha256"] == store.record["pairs_sha256"]


def test_unaligned_faces_are_found_and_what_has_none_is_a_failure(tmp_path):
    for person, path in orl_files()[:40:2]:
        target = tmp_path / "faces" / f"s{person}" / f"{path.stem}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(target), cv2.imread(str(path)))
    (tmp_path / "faces" / "s0" / "0.png").write_bytes(encode_png(np.zeros((60, 50, 3), np.uint8)))
    store = build_source(tmp_path / "faces", tmp_path / "store", pairs="all", folds=2)
    assert store.n_images == 21 and store.record["n_aligned"] == 20
    assert store.failures == ((0, NO_FACE),)
    never = FileFaces(tmp_path / "faces", ["s0/0.png"], "never").face(0)
    assert never == (None, "50x60 pixels instead of 112x112")


def test_aligned_pictures_are_aligned_again_only_when_asked(tmp_path):
    (tmp_path / "a.png").write_bytes(picture(1))
    assert FileFaces(tmp_path, ["a.png"], "auto").face(0)[0] is not None
    assert FileFaces(tmp_path, ["a.png"], "always").face(0) == (None, NO_FACE)


def test_equal_files_are_one_picture(tmp_path):
    folder = people_folder(tmp_path / "faces", [3, 3, 3, 3])
    (folder / "p01" / "0.png").write_bytes((folder / "p01" / "1.png").read_bytes())
    listing = describe_source(folder).read(Asked("all", folds=2))
    collection = collect(listing)
    assert len(listing.faces.names) == 12 and len(collection.faces) == 11
    twice = np.flatnonzero(collection.left == collection.right)
    assert len(twice) == 1 and collection.same[twice].all()


# LFW


def lfw_folder(folder, below="lfw/"):
    """Six people in LFW's layout with the lists of both views, two folds of two and two."""
    names = ["Ann_A", "Bob_B", "Cy_C", "Di_D", "Ed_E", "Fay_F"]
    for person, name in enumerate(names):
        (folder / below / name).mkdir(parents=True)
        for number in (1, 2, 3):
            path = folder / below / name / f"{name}_{number:04d}.jpg"
            path.write_bytes(picture(3 * person + number))
    genuine = [["Ann_A", 1, 2], ["Bob_B", 1, 3]], [["Di_D", 2, 3], ["Ed_E", 1, 2]]
    impostor = [["Ann_A", 1, "Cy_C", 2], ["Bob_B", 2, "Cy_C", 1]], \
        [["Di_D", 1, "Fay_F", 3], ["Ed_E", 3, "Fay_F", 1]]  # fmt: skip
    lines = [["2", "2"], *(line for g, i in zip(genuine, impostor, strict=True) for line in g + i)]
    write_lines(folder / "pairs.txt", lines)
    write_lines(folder / "pairsDevTest.txt", [["2"], *genuine[0], *impostor[0]])
    people = [["2"], ["3"], *([n, 3] for n in names[:3]), ["3"], *([n, 3] for n in names[3:])]
    write_lines(folder / "people.txt", people)
    return folder


def write_lines(path, lines):
    path.write_text("".join("\t".join(map(str, line)) + "\n" for line in lines))


@pytest.mark.parametrize("below", ["", "lfw/"])
def test_lfw_keeps_the_folds_and_pairs_of_its_file(tmp_path, below):
    folder = lfw_folder(tmp_path / "lfw_home", below)
    listing = describe_source(folder).read(Asked())
    assert listing.folds == 2 and listing.same.tolist() == [True, True, False, False] * 2
    named = [(listing.faces.names[a], listing.faces.names[b])
             for a, b in zip(listing.left, listing.right, strict=True)]  # fmt: skip
    assert named[1] == (f"{below}Bob_B/Bob_B_0001.jpg", f"{below}Bob_B/Bob_B_0003.jpg")
    assert named[6] == (f"{below}Di_D/Di_D_0001.jpg", f"{below}Fay_F/Fay_F_0003.jpg")
    people = listing.people
    assert not {*people[listing.left[:4]], *people[listing.right[:4]]} & {
        *people[listing.left[4:]], *people[listing.right[4:]]}  # fmt: skip
    store = build_source(folder, tmp_path / "store")
    assert "Amherst" in store.credit and store.record["pairs"] == "view2"


def test_view_1_comes_in_turn_and_people_txt_draws_within_its_folds(tmp_path):
    source = describe_source(lfw_folder(tmp_path))
    listing = source.read(Asked("view1_test"))
    assert listing.folds is None and listing.same.tolist() == [True, False, True, False]
    drawn = source.read(Asked("unrestricted"))
    assert drawn.folds == 2 and len(drawn.same) == 2 * 2 * 9, "three people with three pictures"
    half = len(drawn.same) // 2
    first = {*drawn.people[drawn.left[:half]], *drawn.people[drawn.right[:half]]}
    assert first == {0, 1, 2}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text[: len(text) // 2], "it ends too soon|another form"),
        (lambda text: text + "Ann_A\t1\t2\n", "goes on after its end"),
        (lambda text: text.replace("Ann_A\t1\t2", "Ann_A\tone\t2"), "another form"),
        (lambda text: text.replace("Ann_A", "../../etc"), "another form"),
        (lambda text: text.replace("Bob_B\t1\t3", "Bob_B\t1\t9"), "1 of 15 pictures are missing"),
    ],
)
def test_a_damaged_list_of_lfw_is_refused(tmp_path, change, message):
    path = lfw_folder(tmp_path) / "pairs.txt"
    path.write_text(change(path.read_text()))
    with pytest.raises(DataError, match=message):
        check_source(tmp_path, folds=2)


def test_a_list_cannot_ask_for_memory(tmp_path):
    lfw_folder(tmp_path)
    write_lines(tmp_path / "people.txt", [["1"], ["1"], ["Ann_A", "99999999"]])
    with pytest.raises(DataError, match="names more than 100,000 pictures"):
        check_source(tmp_path, "unrestricted", folds=2)


# CSV


def csv_set(folder, text):
    for number in range(6):
        (folder / f"{number}.png").write_bytes(picture(number))
    path = folder / "set.csv"
    path.write_text(text)
    return path


def test_pairs_of_a_csv_go_fold_by_fold(tmp_path):
    path = csv_set(
        tmp_path,
        "left,right,same,fold,left_person,right_person\n"
        "0.png,1.png,1,b,x,x\n2.png,3.png,true,a,y,y\n"
        "0.png,4.png,0,b,x,z\n2.png,5.png,False,a,y,w\n\n1.png,4.png,0,b,x,z\n",
    )
    listing = describe_source(path).read(Asked())
    assert listing.folds == 2 and listing.same.tolist() == [True, False, False, True, False]
    first = {listing.faces.names[i] for i in [*listing.left[:3], *listing.right[:3]]}
    assert first == {"0.png", "1.png", "4.png"}
    same_person = listing.people[listing.left] == listing.people[listing.right]
    np.testing.assert_array_equal(same_person, listing.same)
    store = build_source(path, tmp_path / "store")
    assert store.folds == 2 and store.n_pairs == 5
    named = sources({"dataset": str(path), "pairs": "auto"})
    assert named == sorted([path, *(tmp_path / f"{n}.png" for n in range(6))])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("left,right,smae\n0.png,1.png,1\n", "unknown column 'smae'.*\n.*line 1\n.*'same'"),
        ("left,right\n0.png,1.png\n", "no column 'same'"),
        ("left,right,same\n", "lists nothing"),
        ("left,right,same\n0.png,1.png\n", "2 cells for 3 columns"),
        ("left,right,same\n0.png,1.png,maybe\n", "'maybe'"),
        ("left,right,same\n/etc/passwd,1.png,1\n", "leads out"),
        ("left,right,same\n0.png,..\\1.png,1\n", "leads out"),
        (f"left,right,same\n0.png,{'a' * 300}.png,1\n", "leads out"),
        ("left,right,same\n0.png,1.png,1\n2.png,3.png,0\n1.png,0.png,0\n",
         "'0.png' and '1.png' is given as the same person and as two"),
        ("left,right,same\n0.png,9.png,1\n0.png,1.png,0\n", "1 of 3 pictures are missing.*'9.png'"),
        ("left,right,same,fold\n0.png,1.png,1,a\n1.png,2.png,0,a\n2.png,3.png,1,a\n0.png,4.png,1,b\n",
         "not equal parts"),
        ("left,right,same,left_person\n0.png,1.png,1,x\n", "people of one side"),
        ("left,right,same,left_person,right_person\n0.png,1.png,1,x,x\n0.png,2.png,0,y,z\n",
         "'0.png' is given two people"),
        ("a,b\n1,2\n", "neither pairs nor templates"),
    ],
)  # fmt: skip
def test_a_csv_that_is_not_right_says_what_and_where(tmp_path, text, message):
    with pytest.raises(DataError, match=f"(?s){message}") as caught:
        check_source(csv_set(tmp_path, text), folds=2)
    assert len(str(caught.value).splitlines()) <= 3


# What stays inside, and what costs too much


def test_links_may_not_leave_the_folder(tmp_path):
    folder = people_folder(tmp_path / "faces", [2, 2, 2, 2])
    (tmp_path / "secret.png").write_bytes(picture(9))
    (folder / "p00" / "link.png").symlink_to(tmp_path / "secret.png")
    with pytest.raises(DataError, match=r"leads out of the folder: 'p00/link\.png'"):
        check_source(folder, folds=2)
    (folder / "p00" / "link.png").unlink()
    (folder / "p00" / "inner.png").symlink_to(folder / "p01" / "0.png")
    check_source(folder, folds=2)
    (folder / "p09").symlink_to(tmp_path)
    with pytest.raises(DataError, match="leads out"):
        check_source(folder, folds=2)


@pytest.mark.parametrize("name", ["", "/a", "a/../../b", "..", "C:/a", "\\\\host\\a"])
def test_names_from_strangers_stay_inside(tmp_path, name):
    with pytest.raises(DataError, match="leads out"):
        inside(tmp_path, name)


@pytest.mark.parametrize(
    "name", ["a\0b", "a\nb", "\x1b[31mb", "a\u2028b", "a\x85b", "\u202eab", "a\u200bb", "a\udce9"]
)
def test_names_that_are_not_plain_are_refused_for_what_they_are(tmp_path, name):
    with pytest.raises(DataError, match="A name holds a control character") as caught:
        inside(tmp_path, f"people/{name}/1.png")
    assert str(caught.value).isprintable() or len(str(caught.value).splitlines()) == 3


@pytest.mark.parametrize(
    "name",
    [
        "張偉",
        "山田\u3000太郎",
        "نیم\u200cروز",
        "क्\u200dष",
        "👩\u200d👧",
        "a\u00a0b",
        "\ue000",
        "Zoë 'q' %s{0}",
    ],
)
def test_names_as_people_write_them_are_read(tmp_path, name):
    folder = people_folder(tmp_path / "faces", [2, 2, 2, 2])
    (folder / "p00").rename(folder / name)
    check_source(folder, folds=2)


def test_a_picture_that_announces_too_many_pixels_is_not_decoded(monkeypatch):
    bomb = io.BytesIO(encode_png(np.zeros((4, 4, 3), np.uint8))).getvalue()
    header = bytearray(bomb[:33])
    header[16:24] = (60_000).to_bytes(4, "big") * 2
    header[29:33] = __import__("zlib").crc32(header[12:29]).to_bytes(4, "big")
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("decoded"))
    image, reason = decode_photograph(bytes(header) + bomb[33:])
    assert image is None and reason == f"60000x60000 pixels are more than {MAX_PIXELS:,}"


# What does not fit together


@pytest.mark.parametrize(
    ("pairs", "align", "error", "message"),
    [
        ("balansed", "auto", ParamsError, "did you mean 'balanced'"),
        ("view2", "auto", DataError, "pairs.txt cannot be read"),
        ("all", "auto", None, None),
    ],
)
def test_pairs_must_fit_the_folder(tmp_path, pairs, align, error, message):
    folder = people_folder(tmp_path / "faces", [2, 2, 2, 2])
    if error is None:
        return check_source(folder, pairs, align, 2)
    with pytest.raises(error, match=message):
        check_source(folder, pairs, align, 2)


def test_a_bin_has_its_own_pairs_and_needs_no_alignment(tmp_path):
    path = pack(people_folder(tmp_path / "faces", [2, 2, 2, 2]), tmp_path / "a.bin", folds=2).path
    with pytest.raises(ParamsError, match="are its own; 'balanced' is for folders"):
        check_source(path, "balanced", folds=2)
    with pytest.raises(ParamsError, match="aligned already"):
        check_source(path, align="always", folds=2)
    with pytest.raises(ParamsError, match="10 folds need at least as many pairs; the set has 8"):
        check_source(path)
    again = pack(path, tmp_path / "b.bin")
    assert again.path.read_bytes() == path.read_bytes()


def test_what_a_bin_cannot_hold_is_refused(tmp_path):
    folder = people_folder(tmp_path / "faces", [2, 2, 2, 2])
    with pytest.raises(DataError, match="Every pair of pictures does not fit"):
        pack(folder, tmp_path / "a.bin", pairs="all", folds=2)
    with pytest.raises(DataError, match="holds no people"):
        pack(tmp_path / "faces" / "p00", tmp_path / "a.bin")


# What a reader passes over


def heic():
    """The first bytes of a HEIC, as phones write them."""
    return b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"


def test_what_a_folder_holds_beside_is_counted_with_its_reason(tmp_path):
    folder = people_folder(tmp_path / "faces", [3, 3, 3, 3, 1])
    webp = cv2.imencode(".webp", np.full((112, 112, 3), 90, np.uint8))[1].tobytes()
    (folder / "p00" / "3.webp").write_bytes(webp)
    for name, content in {
        "p00/a.heic": heic(),
        "p00/b.JPG.txt": cv2.imencode(".jpg", np.zeros((9, 9, 3), np.uint8))[1].tobytes(),
        "p01/without": picture(5),
        "p01/c.tif": b"cut",
        "p01/2019/d.png": picture(6),
        "p01/2019/may/e.gif": b"GIF89a",
        "p01/2019/may/notes.txt": b"BM is not always a picture",
        "loose.png": picture(7),
        "README.txt": b"P5 or not",
        "p02/Thumbs.db": b"\xd0\xcf\x11\xe0",
        "p02/.hidden.gif": b"GIF89a",
        ".DS_Store/x.png": picture(8),
        "nobody/a.csv": b"a,b",
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    (folder / "p03" / "gone.png").symlink_to("0.gif")
    listing = describe_source(folder).read(Asked("all", folds=2))
    assert "p00/3.webp" in listing.faces.names and len(listing.faces.names) == 14
    found = listing.about["passed_over"]
    assert {row["reason"]: (row["n"], row["examples"]) for row in found["reasons"]} == {
        "the ending is not that of a JPEG, PNG, BMP or WebP": (
            4, ["p00/a.heic", "p00/b.JPG.txt", "p01/c.tif"]),
        "in a folder below a person's": (2, ["p01/2019/d.png", "p01/2019/may/e.gif"]),
        "beside the people's folders": (1, ["loose.png"]),
        "a broken link, a pipe or a device": (1, ["p03/gone.png"]),
        "a person's folder without a picture that is read": (1, ["nobody"]),
        "not a picture": (3, ["README.txt", "nobody/a.csv", "p02/Thumbs.db"]),
    }  # fmt: skip
    assert found["n_files"] == 8, "pictures only"
    assert found["examples"] == [
        "p00/a.heic: the ending is not that of a JPEG, PNG, BMP or WebP",
        "p01/2019/d.png: in a folder below a person's",
        "loose.png: beside the people's folders",
    ]
    store = build_source(folder, tmp_path / "store", folds=2)
    assert store.record["passed_over"] == found
    told = pack(folder, tmp_path / "a.bin", folds=2).sentence()
    assert "; pictures that are not read: 4 (the ending is not" in told and "p00/a.heic" in told


def test_a_folder_that_holds_all_and_reads_all_passes_nothing_over(tmp_path):
    folder = people_folder(tmp_path / "faces", [2, 2, 2, 2])
    listing = describe_source(folder).read(Asked("all", folds=2))
    assert listing.about["passed_over"] == {"n_files": 0, "examples": [], "reasons": []}
    told = pack(folder, tmp_path / "a.bin", folds=2).sentence()
    assert "not read" not in told and "two files" not in told and "several" not in told


@pytest.mark.parametrize(
    ("below", "said"),
    [("train/p00/", "8 (in a folder below a person's), such as train/p00/0.png"),
     ("", "8 (beside the people's folders), such as 0.png")],
)  # fmt: skip
def test_a_folder_one_level_off_says_where_its_pictures_are(tmp_path, below, said):
    (tmp_path / below).mkdir(parents=True, exist_ok=True)
    for number in range(8):
        (tmp_path / f"{below}{number}.png").write_bytes(picture(number))
    with pytest.raises(
        DataError, match="holds no people: pictures that are not read: 8 "
    ) as caught:
        check_source(tmp_path, folds=2)
    assert said in str(caught.value) and len(str(caught.value).splitlines()) <= 3


def test_names_that_no_terminal_should_see_and_deep_folders_are_counted(tmp_path):
    folder = people_folder(tmp_path / "faces", [2, 2, 2, 2])
    deep = folder / "p00"
    for _ in range(300):
        deep = deep / "d"
        deep.mkdir()
    (folder / "p01" / "\x1b[31mred.gif").write_bytes(b"GIF89a")
    (folder / "p01" / os.fsdecode(b"\xff.gif")).write_bytes(b"GIF89a")
    os.mkfifo(folder / "p02" / "pipe.png")
    os.mkfifo(folder / "p02" / "pipe")
    found = describe_source(folder).read(Asked("all", folds=2)).about["passed_over"]
    assert found["n_files"] == 3
    told = "".join(name for row in found["reasons"] for name in row["examples"])
    assert told.isprintable() and told.encode("utf-8")


def test_files_with_one_content_are_named_and_of_two_people_first(tmp_path):
    folder = people_folder(tmp_path / "faces", [3, 3, 3, 3])
    (folder / "p02" / "copy.png").write_bytes((folder / "p02" / "1.png").read_bytes())
    (folder / "p03" / "9.png").write_bytes((folder / "p01" / "0.png").read_bytes())
    store = build_source(folder, tmp_path / "store", pairs="all", folds=2)
    assert store.record["equal_files"] == {
        "n_pictures": 2,
        "n_of_two_people": 1,
        "examples": ["p01/0.png = p03/9.png", "p02/1.png = p02/copy.png"],
    }
    told = pack(folder, tmp_path / "a.bin", folds=2).sentence()
    assert "; pictures in two files or more: 2, under two people: 1, such as p01/0.png" in told


# Which face, and how many


def scene_of(small, large, without=None):
    """A small face in the middle of 400x300 and a large one at its left."""
    scene = np.full((300, 400), 90, np.uint8)
    if without != "large":
        scene[40:264, 34:218] = cv2.resize(large, (184, 224))
    if without != "small":
        scene[119:180, 175:225] = cv2.resize(small, (50, 61))
    return scene


def test_lfw_means_the_face_in_the_middle_and_others_weigh_size_against_distance(tmp_path):
    faces = [cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) for _, path in orl_files()[:360:20]]
    home = lfw_folder(tmp_path / "home")
    pictures = sorted(home.rglob("*.jpg"))
    for number, path in enumerate(pictures):
        without = "large" if number % 3 == 2 else None
        content = encode_png(np.dstack([scene_of(faces[number], faces[number - 1], without)] * 3))
        path.write_bytes(content)
    of_lfw = build_source(home, tmp_path / "of_lfw", pairs="unrestricted")
    of_people = build_source(home / "lfw", tmp_path / "of_people", pairs="all", folds=2)
    for store, missing in ((of_lfw, "large"), (of_people, "small")):
        assert store.failures == () and store.n_images == 18
        assert store.record["n_aligned"] == 18 and store.record["n_several_faces"] == 12
        for number in range(0, 18, 3):
            found = store.images()[number].astype(int)
            away = {
                other: np.abs(found - find_and_align(
                    scene_of(faces[number], faces[number - 1], other)))[30:100, 30:82].mean()
                for other in ("small", "large")
            }  # fmt: skip
            assert min(away, key=away.get) == missing


# What could not be used


def test_pack_and_the_store_name_the_file_and_its_true_reason(tmp_path):
    folder = people_folder(tmp_path / "faces", [3, 3, 3, 3])
    cut = (folder / "p00" / "1.png").read_bytes()
    (folder / "p00" / "1.png").write_bytes(cut[: len(cut) // 2])
    (folder / "p01" / "0.png").write_bytes(encode_png(np.zeros((60, 50, 3), np.uint8)))
    packed = pack(folder, tmp_path / "a.bin", folds=2)
    told = packed.sentence()
    assert "; 1 picture cannot be used (damaged: it ends too soon), such as p00/1.png" in told
    assert f"; 1 picture cannot be used ({NO_FACE}), such as p01/0.png" in told
    store = build_source(folder, tmp_path / "store", folds=2)
    assert {(row["name"], row["reason"]) for row in store.record["failures"]} == {
        ("p00/1.png", "damaged: it ends too soon"), ("p01/0.png", NO_FACE)}  # fmt: skip
    assert packed.n_images == store.n_images - 2, "an empty place is no picture"
    slots = np.stack([store.left, store.right], axis=1).ravel()
    lost = [row["image"] for row in store.record["failures"]]
    assert packed.n_empty_slots == np.isin(slots, lost).sum() > 0
