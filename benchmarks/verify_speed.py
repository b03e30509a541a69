"""Time and peak memory of evaluating many pairs: scored pairs, and all pairs of embeddings.

``python benchmarks/verify_speed.py`` runs each case in a process of its own and prints seconds and
the process's peak resident memory, as ``/usr/bin/time -v`` would.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time

import numpy as np

from lresnet_utils.verify.all_pairs import all_pairs
from lresnet_utils.verify.curves import decidability, error_rates, minimum_cost, roc, tar_at_far


def scored(n: int) -> dict:
    """Curves, points and EER of `n` scored float32 pairs, a tenth of them genuine."""
    rng = np.random.default_rng(0)
    same = rng.random(n) < 0.1
    distances = np.clip(rng.normal(np.where(same, 0.9, 1.9), 0.3), 0, 4).astype(np.float32)
    start = time.perf_counter()
    curve = roc(distances, same)
    tar_at_far(distances, same, [1e-2, 1e-3, 1e-4, 1e-5])
    error_rates(distances, same, np.arange(0, 4, 0.01))
    minimum_cost(curve)
    decidability(distances, same)
    return {"seconds": time.perf_counter() - start, "eer": curve.eer, "pairs": n}


def embeddings(n: int) -> dict:
    """All pairs of `n` float32 embeddings of 512 numbers, ten per person."""
    rng = np.random.default_rng(0)
    identity = np.repeat(np.arange(n // 10), 10)
    centres = rng.normal(size=(n // 10, 512)).astype(np.float32)
    vectors = centres[identity] + rng.normal(size=(len(identity), 512)).astype(np.float32)
    start = time.perf_counter()
    found = all_pairs(vectors, identity, [1e-2, 1e-4, 1e-6])
    return {
        "seconds": time.perf_counter() - start,
        "eer": found.eer,
        "pairs": found.n_genuine + found.n_impostor,
    }


CASES = {"scored": scored, "embeddings": embeddings}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scored", type=int, default=5_000_000, help="scored pairs")
    parser.add_argument("--embeddings", type=int, default=10_000, help="embeddings")
    parser.add_argument("--case", choices=CASES, help="run one case here and print JSON")
    options = parser.parse_args()
    if options.case:
        result = CASES[options.case](getattr(options, options.case))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps(result | {"peak_mib": peak}))
        return
    for case in CASES:
        command = [sys.executable, __file__, "--case", case]
        command += [f"--{name}={getattr(options, name)}" for name in CASES]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        row = json.loads(done.stdout)
        print(
            f"{case}: {row['pairs']:,} pairs in {row['seconds']:.2f} s, "
            f"peak memory {row['peak_mib']:.0f} MiB, EER {row['eer']:.5f}"
        )


if __name__ == "__main__":
    main()
