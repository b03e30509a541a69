"""The params declaration refuses what it does not know and says what was meant."""

from pathlib import Path

import papermill
import pytest

from lresnet_utils.errors import ParamsError
from lresnet_utils.params import Params, declared, flat_names, load_params, value_at

ROOT = Path(__file__).parent.parent
DEMO = ROOT / "params" / "demo.yaml"
# Parameters of a notebook that belong to one execution, not to a params file.
PER_NOTEBOOK = {"run_dir", "batch_size"}


def write(folder: Path, text: str) -> Path:
    path = folder / "p.yaml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("path", sorted((ROOT / "params").glob("*.yaml")), ids=lambda p: p.name)
def test_every_params_file_is_valid_and_named_after_its_run(path):
    assert load_params(path).name == path.stem


def test_exponents_are_numbers_and_words_stay_words(tmp_path):
    path = write(
        tmp_path, "name: no\nfar_targets: [1e-3, 1E-2]\ndataset: {name: off, source: 1:30}\n"
    )
    params = load_params(path)
    assert params.name == "no"
    assert params.far_targets == [0.01, 0.001]
    assert (params.dataset.name, params.dataset.source) == ("off", "1:30")


@pytest.mark.parametrize(
    ("override", "names"),
    [
        ("bacth_sizes=[1]", ["bacth_sizes", "did you mean 'batch_sizes'"]),
        ("model.architectur=x", ["model.architectur", "did you mean 'architecture'"]),
        ("warmup=3", ["warmup", "perf.warmup"]),
        ('far_targets=["1e-3"]', ["far_targets.0", "valid number", "'1e-3'"]),
        ("perf.repeats=2.5", ["perf.repeats", "valid integer", "2.5"]),
        ("flip=no", ["flip", "valid boolean", "'no'"]),
        ("targets=off", ["targets", "valid list"]),
        ("batch_sizes=[]", ["batch_sizes"]),
        ("batch_sizes=[4, 4]", ["batch_sizes", "different whole numbers"]),
        ("batch_sizes=[0]", ["batch_sizes", "1 to 4096"]),
        ("far_targets=[2]", ["far_targets", "between 0 and 1"]),
        ("name=../escape", ["name", "'../escape'"]),
        ("name.inner=1", ["name has no parameters inside it"]),
        ("batch_sizes", ["key=value"]),
        ("batch_sizes=[1", ["Not valid YAML"]),
    ],
)
def test_a_wrong_value_is_refused_in_three_lines(override, names):
    with pytest.raises(ParamsError) as refusal:
        load_params(DEMO, [override])
    message = str(refusal.value)
    assert len(message.splitlines()) <= 3
    for name in names:
        assert name in message


def test_an_unknown_name_is_told_before_what_it_caused(tmp_path):
    with pytest.raises(ParamsError, match="Unknown parameter 'nmae'"):
        load_params(write(tmp_path, "nmae: x\n"))


def test_overrides_replace_only_what_they_name():
    params = load_params(DEMO, ["batch_sizes=[16,1]", "perf.seconds=1e-1"])
    assert params.batch_sizes == [1, 16]
    assert params.perf.seconds == pytest.approx(0.1)
    assert params.perf.repeats == load_params(DEMO).perf.repeats


def test_an_integer_is_a_number_but_a_truth_value_is_not():
    assert load_params(DEMO, ["perf.seconds=2"]).perf.seconds == 2
    with pytest.raises(ParamsError):
        load_params(DEMO, ["perf.warmup=true"])


def test_every_parameter_says_what_it_means():
    assert all(field.description for _, field in declared())


def test_flat_names_lead_to_every_parameter_but_the_run_name():
    """The settings of tools, search and limits travel as one parameter each."""
    groups = ("tools", "build", "limits")
    paths = {path for path, _ in declared() if path.split(".")[0] not in groups} - {"name"}
    assert set(flat_names().values()) == paths | {*groups}


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda p: p.stem)
def test_notebook_parameters_agree_with_the_declaration(path):
    """Names, types, defaults (the demo's) and meanings are those of the declaration."""
    demo = load_params(DEMO)
    fields = dict(declared())
    cell = papermill.inspect_notebook(str(path))
    # The language is the report's; ten names are enough for what a notebook does.
    assert 0 < len(cell.keys() - {"language"}) <= 10
    for name, parameter in cell.items():
        assert parameter["help"], name
        if name in PER_NOTEBOOK:
            continue
        dotted = flat_names()[name]
        default = value_at(demo, dotted)
        # Whole sections, of which a notebook changes nothing.
        if name in ("tools", "build", "limits"):
            assert parameter["default"] == "{}"
            assert parameter["help"] == Params.model_fields[name].description
            continue
        assert eval(parameter["default"]) == default, name
        assert parameter["help"] == fields[dotted].description, name
        annotation = parameter["inferred_type_name"]
        assert default is None or annotation.split("[")[0] == type(default).__name__, name


def test_the_schema_names_every_section_and_refuses_surplus():
    schema = Params.model_json_schema()
    assert schema["additionalProperties"] is False
    assert set(schema["properties"]) == set(Params.model_fields)
