"""Several sets in one run: each is judged as it would be alone, templates are pooled."""

import numpy as np
import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output

from lresnet_utils.data.bins import write_bin
from lresnet_utils.data.images import encode_png
from lresnet_utils.errors import DataError
from lresnet_utils.files import write_arrays
from lresnet_utils.report.pages import preprocess as preprocess_page
from lresnet_utils.report.pages import sets as page
from lresnet_utils.run import RunFolder
from lresnet_utils.stages.evaluate import evaluate
from lresnet_utils.stages.infer import set_variant
from lresnet_utils.stages.preprocess import open_more, preprocess
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
    contents = shown(page.contents, run)
    assert "AgeDB-30" in contents and "CSV of templates" in contents
    assert "Non-commercial research only" in contents
    accuracy = result.record["targets"]["bb"]["sets"]["agedb_30"]["accuracy"]
    told = shown(page.results, result)
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
