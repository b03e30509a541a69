"""What the pipeline loses against inference alone, and whether its memory stays flat.

    python benchmarks/pipeline.py --architecture ir_se100 --targets openvino-bf16 --images 2000
    python benchmarks/pipeline.py --architecture sface --memory --targets stand-in

Every repeat times inference alone, then the pipeline over its share of the images, then inference
alone again, and compares the pipeline with the mean of its two neighbours: by the wall clock, and
by this process's processor time per image, which other work on the machine changes much less.
Where every core is at work, the whole loss is that of processor time and that of ``e2e`` over
``infer``. Memory is the peak of a fresh process per number of images; ``stand-in`` is a network
that costs next to nothing. Results are added to ``outputs/bench/pipeline.json``.
"""

from __future__ import annotations

import argparse
import datetime
import json
import subprocess
import sys
import time
from collections import deque
from pathlib import Path
from typing import Any

import numpy as np

from lresnet_utils.data.network_input import to_network_input
from lresnet_utils.graph.to_onnx import export_onnx, simplify_onnx
from lresnet_utils.machine.disk import atomic_path, read_json, stream_arrays, write_json
from lresnet_utils.machine.facts import machine, usable_cores
from lresnet_utils.models.architectures import architecture
from lresnet_utils.models.network import load_network, save_network
from lresnet_utils.run import resolve
from lresnet_utils.targets import get_target
from lresnet_utils.targets.base import Artefact, ModelFiles, Session
from lresnet_utils.targets.embed import WAITING, embed
from lresnet_utils.verify.intervals import student_t

FOLDER = resolve("outputs/bench")
MEMORY_IMAGES = (2_000, 20_000)
STAND_IN = "stand-in"
_WRITTEN_AT_ONCE = 500


def main() -> None:
    options = _options()
    if options.one_process:
        print(json.dumps(_peak(options)))
        return
    path = FOLDER / "pipeline.json"
    results = read_json(path) if path.is_file() else {"speed": [], "memory": []}
    for target in options.targets:
        known = target != STAND_IN
        kind = "memory" if options.memory else "speed"
        result = (_memory if options.memory else _speed)(options, target)
        about = {
            "date": f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M} UTC",
            "architecture": options.architecture,
            "batch_size": options.batch,
            "target": target,
            "flip": options.flip,
            "options": _artefact(options, target).options if known else {},
            "machine": machine(),
            "versions": get_target(target).versions() if known else {},
        }
        results[kind].append(about | result)
        print(json.dumps(about | result, indent=1))
        write_json(path, results)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--architecture", default="ir_se100")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--targets", nargs="+", default=["openvino-bf16"])
    parser.add_argument("--images", type=int, default=2000, help="distinct images of all repeats")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=5, help="of each timing of inference")
    parser.add_argument("--running", type=int, default=0, help="which of the target's ways to run")
    parser.add_argument("--flip", action="store_true", help="embed the mirrored view as well")
    parser.add_argument("--memory", action="store_true", help="measure memory instead of speed")
    parser.add_argument("--one-process", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    # The padding of a last batch would count as a loss of the pipeline in every repeat.
    if not options.memory and options.images % (options.repeats * options.batch):
        parser.error("--images must be whole batches in every repeat, such as 2000 in 5 of 16")
    return options


def _speed(options: argparse.Namespace, target: str) -> dict[str, Any]:
    images, how = _images(options.images), _how(options)
    with _session(options, target) as session:
        batch = to_network_input(
            images[: options.batch], **{k: how[k] for k in ("channel_order", "normalisation")}
        )
        _alone(session, batch, 0)
        rounds = []
        for some in np.split(images, options.repeats):
            before = _alone(session, batch, options.seconds)
            clock = _Clock()
            stages = embed(some, session, **how).stages
            whole = clock.per_image(len(some) * (2 if options.flip else 1))
            after = _alone(session, batch, options.seconds)
            ratio = stages.e2e.images_per_second / stages.infer.images_per_second
            rounds.append({"alone": [before, after], "pipeline": whole, "e2e_over_infer": ratio})
        lanes = session.lanes
    shares = {
        f"{key}_share": _estimate([_share(found, f"{key}_ms") for found in rounds])
        for key in ("wall", "cpu")
    }
    return {"n_images": options.images, "lanes": lanes} | shares | {"rounds": rounds}


class _Clock:
    """Wall clock and processor time of this process since it was made."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self._wall

    def per_image(self, n: int) -> dict[str, float]:
        cpu = time.process_time() - self._cpu
        return {"wall_ms": 1000 * self.seconds / n, "cpu_ms": 1000 * cpu / n}


def _alone(session: Session, batch: np.ndarray, seconds: float) -> dict[str, float]:
    """Keep all lanes at one batch for at least so long; return what an image costs."""
    clock, done, running = _Clock(), 0, deque()
    while clock.seconds < seconds or running or not done:
        while not done or (clock.seconds < seconds and len(running) < session.lanes + WAITING):
            running.append(session.submit(batch))
            done += 1
        running.popleft().result()
    return clock.per_image(done * len(batch))


def _share(found: dict[str, Any], key: str) -> float:
    """What an image costs alone over what it costs in the pipeline."""
    return float(np.mean([one[key] for one in found["alone"]]) / found["pipeline"][key])


def _estimate(values: list[float]) -> dict[str, Any]:
    if len(values) < 2:
        return {"value": values[0], "interval": "none: a single repeat has no spread"}
    value, low, high = (float(x) for x in student_t(values))
    interval = "Student t over repeats, 95 %"
    known = {"value": value, "low": low, "high": high, "median": float(np.median(values))}
    return known | {"n": len(values), "interval": interval}


def _memory(options: argparse.Namespace, target: str) -> dict[str, Any]:
    peaks = {}
    for n in MEMORY_IMAGES:
        _images(n)
        command = [sys.executable, __file__, "--one-process", "--architecture"]
        command += [options.architecture, "--batch", str(options.batch), "--targets", target]
        command += ["--running", str(options.running)]
        command += ["--images", str(n), *(["--flip"] if options.flip else [])]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        peaks[n] = json.loads(done.stdout)
    few, many = (peaks[n]["peak_mib"] for n in MEMORY_IMAGES)
    return {"peaks": peaks, "difference_mb": (many - few) * 2**20 / 1e6}


def _peak(options: argparse.Namespace) -> dict[str, Any]:
    """Embed into a file, as the stage does, and return this process's peak memory."""
    images = _images(options.images)
    (target,) = options.targets
    with _session(options, target) as session:
        loaded = _peak_mib()
        with (
            stream_arrays(FOLDER / "embeddings.npz") as file,
            file.table("vectors", len(images)) as write,
        ):
            rates = embed(images, session, write=write, **_how(options)).stages
    return {
        "loaded_mib": loaded,
        "peak_mib": _peak_mib(),
        "e2e_ips": rates.e2e.images_per_second,
    }


def _peak_mib() -> float:
    # Not resource.getrusage: a process inherits its parent's peak there.
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def _how(options: argparse.Namespace) -> dict[str, Any]:
    known = architecture(options.architecture)
    return {
        "channel_order": known.channel_order,
        "normalisation": known.normalisation,
        "flip": options.flip,
    }


class _StandIn(Session):
    """Takes some pixels for an embedding."""

    def run(self, batch: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(batch[:, 0].reshape(len(batch), -1)[:, : self.embedding_size])


def _session(options: argparse.Namespace, target: str) -> Session:
    if target == STAND_IN:
        return _StandIn(options.batch, architecture(options.architecture).embedding_size)
    return get_target(target).load(_artefact(options, target))


def _artefact(options: argparse.Namespace, name: str) -> Artefact:
    """Build a seeded network for a target, or find the build of an earlier call."""
    architecture_name, batch_size = options.architecture, options.batch
    folder = FOLDER / "builds" / f"{architecture_name}_bs{batch_size}"
    record = folder / f"{name}.running{options.running}.record"
    if record.is_file():
        return Artefact.from_json(read_json(record))
    raw, simple, weights = folder / "raw.onnx", folder / "sim.onnx", folder / "network.pt"
    if not simple.is_file():
        network = load_network(architecture_name, "seeded")
        save_network(network, weights)
        export_onnx(network.module, raw, batch_size=batch_size)
        simplify_onnx(raw, simple, batch_size=batch_size)
    size = architecture(architecture_name).embedding_size
    target = get_target(name)
    artefact = target.build(
        ModelFiles(architecture_name, weights, simple, batch_size, size),
        folder / f"running{options.running}",
        running=target.running_options(usable_cores())[options.running],
    )
    write_json(record, artefact.to_json())
    return artefact


def _images(n: int) -> np.ndarray:
    """Return `n` distinct pictures of seeded noise, mapped from disk."""
    path = FOLDER / f"images_{n}.npy"
    if not path.is_file():
        rng = np.random.default_rng(n)
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            np.lib.format.write_array_header_1_0(
                file, {"descr": "|u1", "fortran_order": False, "shape": (n, 112, 112, 3)}
            )
            for start in range(0, n, _WRITTEN_AT_ONCE):
                some = min(_WRITTEN_AT_ONCE, n - start)
                file.write(rng.integers(0, 256, (some, 112, 112, 3), np.uint8).tobytes())
    return np.load(path, mmap_mode="r")


if __name__ == "__main__":
    main()
