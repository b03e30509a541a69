"""Several sets in one run: each is judged as it would be alone, templates are pooled."""

import cv2
import numpy as np
import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from jsonschema import Draft202012Validator
from typer.testing import CliRunner

from lresnet_utils.cli import app
from lresnet_utils.data.align import find_and_align
from lresnet_utils.data.images import encode_png
from lresnet_utils.data.packaged import orl_files
from lresnet_utils.data.readers.bin import write_bin
from lresnet_utils.data.source import describe_source
from lresnet_utils.errors import DataError
from lresnet_utils.machine.disk import write_arrays
from lresnet_utils.params import Params, check_params
from lresnet_utils.report.pages import evaluate as page
from lresnet_utils.report.pages import preprocess as preprocess_page
from lresnet_utils.results import results_schema
from lresnet_utils.run import RunFolder
from lresnet_utils.running.preflight import check_sets
from lresnet_utils.stages.evaluate import evaluate
from lresnet_utils.stages.infer import open_more, set_variant
from lresnet_utils.stages.preprocess import preprocess
from lresnet_utils.verify.protocol import guide_protocol

PEOPLE, EACH = 8, 5


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """A folder of people, a .bin of 40 pairs called agedb_30, and templates of two media."""
    root = tmp_path_factory.mktemp("sources")
    rng = np.random.default_rng(0)
    names = [f"p{p}/{i}.png" for p in range(PEOPLE) for i in range(EACH)]
    pictures = [encode_png(rng.integers(0, 255, (112, 112, 3), np.uint8)) for _ in names]
    for name, picture in zip(names, pictures, strict=True):
        (root / "people" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "people" / name).write_bytes(picture)
    genuine = [(EACH * p + i, EACH * p + i + 1) for p in range(PEOPLE) for i in range(3)]
    impostor = [(EACH * p + i, (EACH * (p + 1) + 2) % len(names)) for p in range(PEOPLE)
                for i in range(2)]  # fmt: skip
    pairs = [pair for both in zip(genuine, impostor, strict=False) for pair in both]
    same = [a // EACH == b // EACH for a, b in pairs]
    write_bin(root / "agedb_30.bin", [pictures[i] for pair in pairs for i in pair], same)
    rows = [f"t{p}{i // 2},{i // 2},people/p{p}/{i}.png" for p in range(PEOPLE) for i in range(4)]
    (root / "templates.csv").write_text("\n".join(["template,medium,image", *rows]))
    lines = [f"t{p}0,t{p}1,1\nt{p}0,t{(p + 1) % PEOPLE}1,0" for p in range(PEOPLE)]
    (root / "pairs.csv").write_text("\n".join(["left,right,same", *lines]))
    return root


def vectors_of(faces, seed=1):
    """Embeddings that depend on the picture alone: its person's direction and some noise."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(PEOPLE * EACH, 12))
    rows = []
    for image in np.asarray(faces.images()):
        own = np.random.default_rng(int(image[0, 0, 0]) * 65536 + int(image[0, 1, 1]) * 256 + seed)
        rows.append(centres[int(image[0, 0, 1]) % PEOPLE] + 2.0 * own.normal(size=12))
    rows = np.array(rows)
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def embed(run, faces, target, name, failed=()):
    lost = np.isin(np.arange(faces.n_images), failed)
    vectors = np.where(lost[:, None], 0, vectors_of(faces, seed=len(target)))
    write_arrays(run.embeddings(4, target, name), vectors=vectors.astype(np.float32), failed=lost)
    return {"failures": {str(i): "lost" for i in failed}}


@pytest.fixture(scope="module")
def run(sources, tmp_path_factory):
    run = RunFolder(tmp_path_factory.mktemp("run") / "several")
    more = [
        {"name": "AgeDB-30", "source": str(sources / "agedb_30.bin")},
        {"name": "My templates", "source": str(sources / "templates.csv"),
         "pairs": str(sources / "pairs.csv")},
    ]  # fmt: skip
    main = preprocess(run, dataset=str(sources / "people"), dataset_name="People", pairs="all",
                      folds=4, more=more)  # fmt: skip
    entries = {}
    for target in ("a", "bb"):
        entries[target] = {
            "status": "ok",
            "reason": None,
            "variants": {"aligned": embed(run, main, target, "aligned")},
            "sets": {
                key: embed(run, faces, target, set_variant(key), failed=[1])
                for key, faces in open_more(run).items()
            },
        }
    run.write_record("1_export", 4, {"network": {"trained": True, "architecture": "ir_se50"}})
    run.write_record("4_infer", 4, {"targets": entries})
    return run


HOW = {"batch_size": 4, "targets": ["a", "bb"], "reference": "a", "folds": 4}
HOW |= {"far_targets": [0.1], "bootstrap": 50}


@pytest.fixture(scope="module")
def result(run):
    return evaluate(run, **HOW)


def test_the_stores_lie_beside_each_other(run):
    assert (run.faces / "set.json").is_file()
    assert list(open_more(run)) == ["agedb_30", "my_templates"]
    record = run.record("3_preprocess")
    assert record["sets"]["agedb_30"]["licence"]["file"] == "agedb_30.bin"
    assert record["sets"]["my_templates"]["n_templates"] == 2 * PEOPLE
    files = {link["file"] for link in record["custody"]}
    assert {"faces/pairs.npz", "more_faces/agedb_30/pairs.npz"} <= files


def test_a_further_set_is_judged_as_it_would_be_alone(run, result, sources, tmp_path):
    alone = RunFolder(tmp_path / "alone")
    faces = preprocess(alone, dataset=str(sources / "agedb_30.bin"), dataset_name="AgeDB-30")
    entries = {
        target: {"status": "ok", "reason": None,
                 "variants": {"aligned": embed(alone, faces, target, "aligned", failed=[1])}}
        for target in ("a", "bb")
    }  # fmt: skip
    alone.write_record("1_export", 4, run.record("1_export", 4))
    alone.write_record("4_infer", 4, {"targets": entries})
    own = evaluate(alone, **HOW).record
    for target in ("a", "bb"):
        further = result.record["targets"][target]["sets"]["agedb_30"]
        wanted = own["targets"][target]
        for key in ("accuracy", "threshold", "eer", "tar_at_far", "failures", "published"):
            assert further[key] == wanted[key], key
        assert further["parity"]["lost"] == wanted["parity"]["lost"]
    assert result.record["sets"]["agedb_30"]["set_health"] == own["set_health"]


def test_templates_are_scored_by_their_pooled_embeddings(run, result):
    faces = open_more(run)["my_templates"]
    vectors = vectors_of(faces, seed=1).astype(np.float64)
    own = faces.templates
    pooled = []
    for template in range(own.count):
        images = [i for t, i in zip(own.template, own.image, strict=True) if t == template]
        mean = np.mean([vectors[i] for i in images if i != 1], axis=0)  # one medium each
        pooled.append(mean / np.linalg.norm(mean))
    pooled = np.array(pooled)
    distances = np.square(pooled[own.left] - pooled[own.right]).sum(axis=1)
    stored = np.load(run.scores(4, "a", set_variant("my_templates")))
    np.testing.assert_allclose(stored["distances"], distances, atol=1e-6)
    entry = result.record["targets"]["a"]["sets"]["my_templates"]
    wanted = guide_protocol(stored["distances"], faces.same, folds=4)
    assert entry["accuracy"]["value"] == pytest.approx(wanted.mean_accuracy)
    # The picture that failed leaves its template with another one, so no pair is lost.
    assert entry["failures"]["n_failed_images"] == 1 and entry["failures"]["fta"] == 0
    assert entry["failures"]["images"][0]["pairs"] == []


def test_rates_over_every_pair_equal_a_count(run, result):
    vectors = np.load(run.embeddings(4, "a", "aligned"))["vectors"].astype(np.float64)
    person = result.faces.identity
    left, right = np.triu_indices(len(vectors), 1)
    distances = np.square(vectors[left] - vectors[right]).sum(axis=1)
    same = person[left] == person[right]
    found = result.record["targets"]["a"]["every_pair"]
    assert (found["n_genuine"], found["n_impostor"]) == (same.sum(), (~same).sum())
    allowed = int(np.floor(0.1 * (~same).sum()))
    threshold = np.sort(distances[~same])[allowed]
    point = found["tar_at_far"][0]
    assert point["tar"] == pytest.approx((distances[same] < threshold).mean(), abs=0.01)
    assert point["interval"] is None and "blocks" in point["interval_reason"]


def shown(part, *arguments):
    """Return the text that a part of a page leaves in a cell."""
    InteractiveShell.instance()
    with capture_output() as captured:
        part(*arguments)
    return " ".join(output.data["text/html"] for output in captured.outputs)


def test_the_pages_say_it(run, result):
    contents = shown(preprocess_page.further_sets, run)
    assert "AgeDB-30" in contents and "CSV of templates" in contents
    assert "Non-commercial research only" in contents
    accuracy = result.record["targets"]["bb"]["sets"]["agedb_30"]["accuracy"]
    told = shown(page.further_sets, result)
    assert f"{accuracy['errors']}\u00a0/\u00a0{accuracy['n']}" in told and "bb" in told
    assert "this set has 32 pairs and AgeDB-30 has 6,000" in shown(page.published, result)
    assert "40 images: 80 genuine, 700 impostor" in shown(page.every_pair, result)
    assert "Templates" in shown(preprocess_page.contents, open_more(run)["my_templates"])


def test_small_batches_and_other_folds(run, sources, tmp_path):
    """Without embeddings of further sets there are none; a set's own folds come first."""
    record = run.record("4_infer", 4)
    for entry in record["targets"].values():
        entry["sets"] = {}
    other = RunFolder(run.folder)
    other.write_record("1_export", 8, run.record("1_export", 4))
    other.write_record("4_infer", 8, {"targets": record["targets"]})
    for target in ("a", "bb"):
        path = run.embeddings(8, target, "aligned")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(run.embeddings(4, target, "aligned").read_bytes())
    found = evaluate(other, **HOW | {"batch_size": 8, "folds": 10}).record
    assert found["sets"] == {} and found["targets"]["a"]["sets"] == {}
    assert found["folds"] == 4, "those of the drawn pairs, not the run's"


def test_the_guides_files_cannot_hold_templates(sources, tmp_path):
    with pytest.raises(DataError, match="pairs of templates"):
        preprocess(
            RunFolder(tmp_path / "run"),
            dataset=str(sources / "templates.csv"),
            pairs=str(sources / "pairs.csv"),
            guide_files="relative",
        )


@pytest.fixture(scope="module")
def crooked(tmp_path_factory):
    """Eight people with three faces each, turned by 20 degrees, and much beside them."""
    root = tmp_path_factory.mktemp("crooked") / "people"
    turn = cv2.getRotationMatrix2D((56, 56), 20, 1)
    for index, (person, path) in enumerate(orl_files()):
        if person < 8 and index % 10 < 3:
            face = find_and_align(cv2.imread(str(path)))
            name = root / f"p{person}" / f"{index % 10}.png"
            name.parent.mkdir(parents=True, exist_ok=True)
            name.write_bytes(encode_png(cv2.warpAffine(face, turn, (112, 112))))
    (root / "p0" / "cut.png").write_bytes((root / "p0" / "0.png").read_bytes()[:900])
    (root / "p1" / "again.png").write_bytes((root / "p0" / "0.png").read_bytes())
    for number in range(3):
        (root / "p2" / f"{number}.heic").write_bytes(b"x")
    scene = np.full((300, 500, 3), 90, np.uint8)
    for left, (_, path) in zip((60, 260), orl_files()[200:220:10], strict=True):
        scene[40:264, left : left + 184] = cv2.resize(cv2.imread(str(path)), (184, 224))
    (root / "p3" / "two.png").write_bytes(encode_png(scene))
    return root


def test_the_preprocess_page_says_what_the_set_is_not(crooked, tmp_path):
    further = [{"name": "Again", "source": str(crooked), "align": "always"}]
    run = RunFolder(tmp_path / "run")
    faces = preprocess(run, dataset=str(crooked), pairs="all", folds=2, more=further)
    record = run.record("3_preprocess")
    assert record["alignment"]["n"] == 25 and record["alignment"]["n_off"] >= 20
    assert record["alignment"]["n_no_face"] == 0, "the picture that cannot be used is none"
    assert abs(record["alignment"]["median_degrees"] - 20) < 4
    again = record["sets"]["again"]
    assert again["alignment"] is None, "all were aligned here"
    assert again["n_several_faces"] == record["n_several_faces"] == 1
    told = shown(preprocess_page.doubts, record)
    for words in (
        "p2/0.heic, p2/1.heic, p2/2.heic",
        "the ending is not that of a JPEG",
        "two files or more: 1, under two people: 1, such as p0/0.png = p1/again.png",
        "several faces were found: 1, such as p3/two.png",
        "Of 25 faces that were looked at",
    ):
        assert words in told, words
    assert "p0/cut.png" in shown(preprocess_page.failures, faces)
    assert "passed over" in shown(preprocess_page.further_sets, run)
    schema = results_schema()
    schema = {"$defs": schema["$defs"]} | schema["properties"]["dataset"]
    wrong = [found.message for found in Draft202012Validator(schema).iter_errors(record)]
    assert wrong == []


def test_of_a_set_that_is_what_it_seems_the_page_says_so(run):
    told = shown(preprocess_page.doubts, run.record("3_preprocess"))
    assert "Nothing of the folder was passed over." in told
    assert "several" not in told and "two files" not in told


def params_of(folder, **changes):
    return Params.model_validate(
        {"name": "t", "dataset": {"source": str(folder), "variants": []} | changes,
         "batch_sizes": [4], "targets": ["torch-fp32"], "folds": 2}
    )  # fmt: skip


def test_before_work_starts_it_is_said_that_much_would_be_passed_over(crooked, sources, capsys):
    check_sets(params_of(crooked))
    told = capsys.readouterr()
    assert told.out == ""
    (line,) = told.err.splitlines()
    assert line.startswith("Warning: ") and "pictures that are not read: 3 (the ending" in line
    check_sets(params_of(sources / "people"))
    check_sets(params_of(sources / "agedb_30.bin"))
    assert capsys.readouterr() == ("", "")


def test_a_dry_run_warns_too(crooked, tmp_path, monkeypatch):
    params = tmp_path / "t.yaml"
    params.write_text(
        f"name: t\ndataset: {{source: {crooked}, variants: []}}\nbatch_sizes: [4]\n"
        "targets: [torch-fp32]\nfolds: 2\n"
    )
    monkeypatch.chdir(tmp_path)
    found = CliRunner().invoke(app, ["run", str(params), "--dry-run"])
    assert found.exit_code == 0 and "3_preprocess" in found.stdout
    assert "pictures that are not read: 3" in found.stderr


@pytest.mark.parametrize(("source", "name"), [("agedb_30.bin", "agedb_30"), ("people", "people")])
def test_a_set_without_a_name_is_called_as_its_file_or_folder(sources, tmp_path, source, name):
    params = check_params({"name": "x", "dataset": {"source": "any"}}, where="x.yaml")
    run = RunFolder(tmp_path / "run")
    how = {"dataset_name": params.dataset.name, "folds": 4}
    faces = preprocess(run, dataset=str(sources / source), **how)
    assert faces.name == run.record("3_preprocess")["name"] == name
    assert describe_source("orl").title == "ORL"
