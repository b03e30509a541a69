"""``lresnet embed`` and ``lresnet all-pairs``: large sets from the command line."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from lresnet_utils.cluster.embed_set import embed_set, run_build
from lresnet_utils.cluster.embedded import MANIFEST, EmbeddedSet, all_pairs_of
from lresnet_utils.cluster.engine import Files, open_engine
from lresnet_utils.cluster.records import People, open_records
from lresnet_utils.data.readers.folder import told_passed_over
from lresnet_utils.errors import ParamsError, print_line
from lresnet_utils.machine.disk import write_json
from lresnet_utils.machine.locks import run_lock
from lresnet_utils.run import RunFolder, prepare_folder, require_own, sweep

_NO_INTERVAL = "none: pairs of one person fail together, and a large set is not resampled"


def embed(
    run: Path,
    source: Path,
    *,
    cell: str,
    output: Path | None,
    shard_size: int,
    workers: int,
    scheduler: str | None,
    files: Files,
    trust: bool = False,
) -> None:
    """Embed a large set with a build of a run, and say what was done."""
    if shard_size < 1:
        raise ParamsError("A shard holds at least one picture.", where="--shard", fix="4096")
    folder_of_run = RunFolder.given(run)
    network = run_build(folder_of_run, cell, trust=trust)
    records = open_records(source)
    # One folder there, and no hidden one, whatever the set that somebody made is called.
    name = f"{records.name}.{cell}".replace("/", ".").lstrip(".")
    folder = output or folder_of_run.folder / "sets" / name
    if output is None:
        require_own(folder_of_run.folder, ours=True)
    left = [path.name for path in folder.glob("shards/*")]
    shards = (folder / "shards").is_dir() and all(name[:6].isdecimal() for name in left)
    require_own(folder, ours=(folder / MANIFEST).is_file() or shards)
    prepare_folder(folder / "shards")
    if isinstance(records, People) and records.passed_over["n_files"]:
        print_line(f"{records.name}: {told_passed_over(records.passed_over)}.", file=sys.stderr)
    with (
        run_lock(folder),
        open_engine(workers=workers, scheduler=scheduler, files=files, folder=folder) as engine,
        _progress("images") as progress,
    ):
        sweep(folder)
        found = embed_set(
            records, network, folder, engine, shard_size=shard_size, progress=progress
        )
    # Say how many pictures there are and how long those of this call took.
    record = found.record
    kept = record["n_images"] - found.embedded
    rate = f" ({found.embedded / found.seconds:.1f} images/s, one run)" if found.embedded else ""
    print_line(
        f"{record['n_images']} images: {found.embedded} embedded in {found.seconds:.1f} s{rate}, "
        f"{kept} were there, {record['n_failed']} cannot be used"
    )
    print_line(f"Embeddings: {folder}")


def all_pairs(
    folder: Path,
    *,
    far_targets: list[float],
    workers: int,
    scheduler: str | None,
    files: Files,
) -> None:
    """Evaluate every pair of an embedded set, print the rates and write them beside it."""
    for far in far_targets:
        if not 0 < far < 1:
            raise ParamsError("False accept rates lie between 0 and 1.", where=f"--far {far}")
    embedded = EmbeddedSet.open(folder)
    with (
        open_engine(workers=workers, scheduler=scheduler, files=files, folder=folder) as engine,
        _progress("tiles") as progress,
    ):
        found = all_pairs_of(embedded, far_targets, engine, progress=progress)
    record = {
        "schema": 1,
        "name": embedded.record["name"],
        "shards_sha256": embedded.record["shards_sha256"],
        "n_images": found.n_images,
        "n_genuine": found.n_genuine,
        "n_impostor": found.n_impostor,
        "interval": _NO_INTERVAL,
        "eer": {"value": found.eer, "threshold": found.eer_threshold},
        "tar_at_far": found.tar_at_far,
    }
    print_line(
        f"{found.n_images} images, {found.n_genuine} genuine and {found.n_impostor} impostor pairs"
    )
    print_line(f"EER        {found.eer:.4%} at distance {found.eer_threshold:.6f}")
    for row in found.tar_at_far:
        if "refused" in row:
            said = f"refused: {row['refused']}"
        else:
            said = f"{row['tar']:.4%} at distance {row['threshold']:.6f}, "
            said += f"achieved FAR {row['achieved_far']:.3g}"
        print_line(f"TAR@{row['far']:<7g}{said}")
    print_line(f"Intervals: {_NO_INTERVAL}")
    print_line(f"Rates: {write_json(folder / 'all_pairs.json', record)}")


@contextmanager
def _progress(unit: str) -> Iterator[Callable[[int, int], None]]:
    """Yield a function that moves a bar on a terminal and does nothing anywhere else."""
    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(unit, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
