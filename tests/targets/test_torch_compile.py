"""Compiled PyTorch against the eager module, and what it needs."""

import numpy as np
import pytest

from lresnet_utils.errors import TargetError
from lresnet_utils.targets import get_target, pytorch
from lresnet_utils.targets.base import Artefact, ModelFiles

torch = pytest.importorskip("torch")
BATCH, SIZE = 2, 4


def tiny(*_):
    """Return a convolution, a batch normalisation, a slope and a product, the same every time."""
    torch.manual_seed(0)
    layers = [
        torch.nn.Conv2d(3, 8, 16, 16, bias=False),
        torch.nn.BatchNorm2d(8),
        torch.nn.PReLU(8),
        torch.nn.Flatten(),
        torch.nn.Linear(8 * 49, SIZE),
    ]
    return torch.nn.Sequential(*layers).eval().requires_grad_(False)


@pytest.fixture(autouse=True)
def new_process():
    """Forget what was compiled in this process, as each build and load has one of its own."""
    from torch._inductor.utils import clear_inductor_caches

    torch._dynamo.reset()
    clear_inductor_caches()


@pytest.fixture
def build(tmp_path, monkeypatch):
    """A build of the tiny network."""
    target = get_target("torch-compile-fp32")
    if not target.available().ok:
        pytest.skip(target.available().reason)
    monkeypatch.setattr("lresnet_utils.models.network.restore_network", tiny)
    weights = tmp_path / "network.pt"
    weights.write_bytes(b"stands for the weights")
    files = ModelFiles("tiny", weights, weights, BATCH, SIZE)
    return target.build(files, tmp_path / "engine", threads=1)


@pytest.fixture
def used(monkeypatch):
    """Gather the files that inductor finds when it begins to compile."""
    real, seen = pytorch.TorchSession.compile, {}

    def compile_(session, place):
        seen.update({p.relative_to(place): p.read_bytes() for p in place.rglob("*") if p.is_file()})
        real(session, place)

    monkeypatch.setattr(pytorch.TorchSession, "compile", compile_)
    return seen


def test_every_compiled_file_is_what_was_built_or_the_build_is_refused(build, used):
    kept = build.path.parent / "inductor"
    libraries = sorted(kept.rglob("*.so"))
    (kept / "planted.so").write_bytes(b"never asked for")
    with get_target(build.target).load(build):
        assert used and set(used) == {
            p.relative_to(kept) for p in kept.rglob("*") if p.is_file() and p.name != "planted.so"
        }
    used.clear()
    for damage in (lambda p: p.write_bytes(p.read_bytes()[::-1]), lambda p: p.unlink()):
        damage(libraries[0])
        with pytest.raises(TargetError, match="gone or was changed") as raised:
            get_target(build.target).load(build)
        assert str(libraries[0]) == raised.value.where and "2_compile" in raised.value.fix
    assert not used


def test_code_that_another_user_compiled_is_never_loaded(build, used, monkeypatch, tmp_path):
    """Even where the build is whole and all its hashes agree."""
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "another"))
    with get_target(build.target).load(build) as session:
        assert session.infer(np.zeros((BATCH, 3, 112, 112), np.float32)).shape == (BATCH, SIZE)
    assert used == {}


def test_a_build_uses_nothing_that_lay_there(build, used, tmp_path):
    planted = next((build.path.parent / "inductor").rglob("*.so"))
    planted.write_bytes(b"not by us")
    files = ModelFiles("tiny", tmp_path / "network.pt", tmp_path / "network.pt", BATCH, SIZE)
    get_target(build.target).build(files, tmp_path / "engine", threads=1)
    assert used == {} and not (planted.exists() and planted.read_bytes() == b"not by us")


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_it_computes_what_the_module_computes(precision, tmp_path, monkeypatch):
    target = get_target(f"torch-compile-{precision}")
    if not target.available().ok:
        pytest.skip(target.available().reason)
    monkeypatch.setattr("lresnet_utils.models.network.restore_network", tiny)
    weights = tmp_path / "network.pt"
    weights.write_bytes(b"stands for the weights")
    files = ModelFiles("tiny", weights, weights, BATCH, SIZE)
    artefact = target.build(files, tmp_path / "engine", threads=1)
    assert any((tmp_path / "engine" / "inductor").rglob("*.so"))
    assert artefact.seconds > 0 and artefact.options["autocast"] == (precision == "bf16")
    batch = np.random.default_rng(0).normal(size=(BATCH, 3, 112, 112)).astype(np.float32)
    with target.load(Artefact.from_json(artefact.to_json())) as session:
        first = session.infer(batch)
        kept = first.copy()
        second = session.submit(batch + 1).result()
    expected = tiny()(torch.from_numpy(batch)).numpy()
    error = np.abs(first - expected).max() / np.abs(expected).max()
    # Eight bits of mantissa: anything finer than that would not be bf16.
    assert (1e-4 < error < 2e-2) if precision == "bf16" else error < 1e-5
    assert first.dtype == np.float32 and np.array_equal(first, kept)
    assert not np.array_equal(first, second)


def test_without_a_compiler_it_says_what_to_install(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    able = get_target("torch-compile-fp32").available()
    assert not able.ok and "no-such-compiler" in able.reason and "g++" in able.remedy


def test_without_pythons_headers_it_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setattr(pytorch.shutil, "which", lambda name: name)
    monkeypatch.setattr(pytorch.sysconfig, "get_path", lambda name: str(tmp_path))
    able = get_target("torch-compile-fp32").available()
    assert not able.ok and "Python.h" in able.reason and "python3-dev" in able.remedy
    (tmp_path / "Python.h").touch()
    assert get_target("torch-compile-fp32").available().ok


def test_bf16_wants_bf16_instructions(monkeypatch):
    monkeypatch.setattr(pytorch.shutil, "which", lambda name: name)
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    assert "bf16 instructions" in get_target("torch-compile-bf16").available().reason


def test_the_environment_is_left_as_it_was(monkeypatch, tmp_path):
    before = str(tmp_path / "before")
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", before)

    def broken(batch):
        assert pytorch.os.environ["TORCHINDUCTOR_CACHE_DIR"] == str(tmp_path)
        raise KeyError

    options = {"batch_size": 1, "embedding_size": 4, "threads": 1}
    session = pytorch.TorchSession(tiny(), options)
    monkeypatch.setattr(session, "infer", broken)
    with pytest.raises(KeyError):
        session.compile(tmp_path)
    assert pytorch.os.environ["TORCHINDUCTOR_CACHE_DIR"] == before
