import hashlib

import numpy as np
import onnx
import pytest
from onnx import helper

from lresnet_utils.errors import GraphError
from lresnet_utils.graph.adopt import baseline, open_foreign
from lresnet_utils.graph.reading import external_files, read_foreign
from lresnet_utils.running.resume import sources

FACES = np.random.default_rng(3).normal(size=(2, 3, 112, 112)).astype(np.float32)


def external(path, location="net.data", **options):
    onnx.save(
        onnx.load(path),
        path,
        save_as_external_data=True,
        location=location,
        size_threshold=0,
        **options,
    )
    return path


def test_one_file_is_read_with_its_own_hash(stored):
    path = stored(opset=13)
    file = read_foreign(path)
    assert file.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert file.opset == 13


@pytest.mark.parametrize("all_in_one", [True, False])
def test_external_weights_are_taken_in(stored, all_in_one):
    plain = stored("plain.onnx")
    path = external(stored(), all_tensors_to_one_file=all_in_one)
    file = read_foreign(path)
    assert not any(t.external_data for t in file.model.graph.initializer)
    found = [baseline(open_foreign(p), FACES)[0] for p in (plain, path)]
    np.testing.assert_array_equal(*found)
    assert file.sha256 != hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_hash_covers_the_external_weights(stored):
    path = external(stored())
    before, data = read_foreign(path).sha256, path.parent / "net.data"
    content = bytearray(data.read_bytes())
    content[5] ^= 1
    data.write_bytes(content)
    assert read_foreign(path).sha256 != before


def test_a_run_depends_on_the_external_weights_too(stored, tmp_path):
    plain, path = stored("plain.onnx"), external(stored())
    assert external_files(plain) == []
    assert external_files(path) == [tmp_path / "net.data"]
    assert external_files(tmp_path / "absent.onnx") == []
    assert sources({"weights": str(path)}) == [tmp_path / "net.data", path]
    assert sources({"weights": str(plain)}) == [plain]


def relocated(path, location, **entries):
    """Point every weight to another place."""
    model = onnx.load(path, load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            wanted = entries | {"location": location}
            entry.value = str(wanted.get(entry.key, entry.value))
    path.write_bytes(model.SerializeToString())
    return path


@pytest.mark.parametrize("location", ["../secret", "/etc/hostname", "a/../../secret", "", "..\\x"])
def test_weights_outside_the_folder_are_refused(stored, tmp_path, location):
    (tmp_path.parent / "secret").write_bytes(bytes(10**6))
    path = relocated(external(stored()), location)
    with pytest.raises(GraphError, match="weights outside its folder") as caught:
        read_foreign(path)
    assert "do not use this file" in caught.value.fix


def test_a_link_that_leaves_the_folder_is_refused(stored, tmp_path):
    secret = tmp_path.parent / "secret"
    secret.write_bytes(bytes(10**6))
    path = external(stored())
    (tmp_path / "net.data").unlink()
    (tmp_path / "net.data").symlink_to(secret)
    with pytest.raises(GraphError, match="weights outside its folder"):
        read_foreign(path)


def test_missing_and_short_weights_are_refused(stored, tmp_path):
    path = external(stored())
    data = tmp_path / "net.data"
    whole = data.read_bytes()
    data.write_bytes(whole[:100])
    with pytest.raises(GraphError, match="file ends before weight"):
        read_foreign(path)
    data.unlink()
    with pytest.raises(GraphError, match=r"in a file of their own, net\.data, which is not there"):
        read_foreign(path)
    data.write_bytes(whole)
    with pytest.raises(GraphError, match="has 8 bytes instead of"):
        read_foreign(relocated(external(stored()), "net.data", length=8))
    for offset in ("much", -4, "1_0", "٣", 10**30):
        with pytest.raises(GraphError, match="is described wrongly"):
            read_foreign(relocated(external(stored()), "net.data", offset=offset))
    for offset in (10**9, 2**63, 2**64 - 8):
        with pytest.raises(GraphError, match="file ends before weight"):
            read_foreign(relocated(external(stored()), "net.data", offset=offset))


@pytest.mark.parametrize("content", [b"", b"<html>Quota exceeded</html>", bytes(range(256))])
def test_what_is_no_graph_is_refused(tmp_path, content):
    path = tmp_path / "x.onnx"
    path.write_bytes(content)
    with pytest.raises(GraphError):
        read_foreign(path)
    with pytest.raises(GraphError, match="cannot be read: No such file"):
        read_foreign(tmp_path / "absent.onnx")


def test_a_damaged_file_is_refused_wherever_it_is_cut(stored):
    path = stored()
    whole = path.read_bytes()
    for length in range(0, len(whole), len(whole) // 23):
        path.write_bytes(whole[:length])
        with pytest.raises(GraphError):
            open_foreign(path)


def test_old_and_foreign_operators_are_refused(stored):
    def fused(model):
        model.graph.node[0].domain = "com.microsoft"
        model.opset_import.append(helper.make_opsetid("com.microsoft", 1))

    with pytest.raises(GraphError, match=r"outside the ONNX standard: com\.microsoft\.Conv"):
        read_foreign(stored(change=fused))
    with pytest.raises(GraphError, match="operators of version 6; 7 is the oldest"):
        read_foreign(stored(opset=6))


def test_functions_of_the_file_are_expanded(stored):
    def wrapped(model):
        node = next(n for n in model.graph.node if n.op_type == "Flatten")
        body = helper.make_node("Flatten", ["x"], ["y"])
        imports = [helper.make_opsetid("", 17)]
        model.functions.append(helper.make_function("own", "Flat", ["x"], ["y"], [body], imports))
        node.op_type, node.domain = "Flat", "own"
        model.opset_import.append(helper.make_opsetid("own", 1))

    plain = stored("plain.onnx")
    found = [baseline(open_foreign(p), FACES)[0] for p in (plain, stored(change=wrapped))]
    np.testing.assert_array_equal(*found)


def test_values_that_nothing_makes_and_names_that_are_no_text_are_refused(stored):
    def dangling(model):
        model.graph.node[2].input[0] = "nowhere"

    def backwards(model):
        model.graph.node.insert(0, model.graph.node.pop())

    with pytest.raises(GraphError, match="reads 'nowhere', which nothing makes"):
        read_foreign(stored(change=dangling))
    with pytest.raises(GraphError, match="which nothing makes"):
        read_foreign(stored(change=backwards))
    path = stored()
    path.write_bytes(path.read_bytes().replace(b"\x02t2", b"\x02t\xdd"))
    with pytest.raises(GraphError):
        read_foreign(path)
