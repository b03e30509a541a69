"""How long a large set takes and how much room, from measured rates."""

from __future__ import annotations

from dataclasses import dataclass

from lresnet_utils.data.face_set import PICTURE

SETS = {"IJB-C": 469_375, "MegaFace-size": 1_000_000, "10^8 images": 100_000_000}
"""Images; IJB-C as InsightFace's crops count them, MegaFace for its million distractors."""
_PASSES = 2


@dataclass(frozen=True)
class Sizing:
    """What a set asks for.

    Attributes
    ----------
    pixels_gb, embeddings_gb : float
        On disk, 10^9 bytes: decoded images, where they are stored so, and float32 embeddings.
    embed_hours : float
        Wall-clock time of all workers together.
    pairs : int
        All pairs of the set.
    pairs_hours : float
        Scoring them twice, as :mod:`lresnet_utils.verify.all_pairs` does.
    """

    pixels_gb: float
    embeddings_gb: float
    embed_hours: float
    pairs: int
    pairs_hours: float


def sizing(
    n_images: int,
    *,
    images_per_second: float,
    pairs_per_second: float,
    workers: int = 1,
    views: int = 1,
    embedding_size: int = 512,
) -> Sizing:
    """Compute what a set asks for.

    Parameters
    ----------
    n_images : int
    images_per_second : float
        Network inputs per second of one worker.
    pairs_per_second : float
        Pairs scored per second by one worker.
    workers : int
        Machines, or devices, of that rate.
    views : int
        2 with the mirrored view.
    embedding_size : int

    Examples
    --------
    >>> found = sizing(1_000_000, images_per_second=100, pairs_per_second=1e7, workers=4)
    >>> round(found.embed_hours, 2), found.pairs, round(found.pairs_hours, 2)
    (0.69, 499999500000, 6.94)
    """
    pairs = n_images * (n_images - 1) // 2
    height, width, channels = PICTURE
    return Sizing(
        n_images * height * width * channels / 1e9,
        n_images * embedding_size * 4 / 1e9,
        n_images * views / (images_per_second * workers) / 3600,
        pairs,
        _PASSES * pairs / (pairs_per_second * workers) / 3600,
    )


def sizing_table(
    rates: dict[str, float], pairs_per_second: float, workers: tuple[int, ...] = (1, 16)
) -> str:
    """Return a Markdown table of :data:`SETS`, one row per set and build.

    Parameters
    ----------
    rates : dict of str to float
        Builds, with the images per second of one worker.
    pairs_per_second : float
    workers : tuple of int
        Numbers of workers, one column each.
    """
    machines = [f"embedding, {n} machine{'s' * (n > 1)}" for n in workers]
    pairs = [f"all pairs, {n} machine{'s' * (n > 1)}" for n in workers]
    head = ["set", "images", "build", *machines, "embeddings", *pairs]
    lines = ["| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head))]
    for name, n in SETS.items():
        for build, rate in rates.items():
            found = [
                sizing(n, images_per_second=rate, pairs_per_second=pairs_per_second, workers=w)
                for w in workers
            ]
            cells = [name, f"{n:,}", build, *(duration(one.embed_hours) for one in found)]
            cells += [f"{found[0].embeddings_gb:.3g} GB"]
            cells += [duration(one.pairs_hours) for one in found]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def duration(hours: float) -> str:
    """Return a time in the unit that fits.

    Examples
    --------
    >>> duration(0.5), duration(30), duration(5000), duration(1e6)
    ('30 minutes', '30 hours', '210 days', '110 years')
    """
    for unit, length, most in (("minutes", 60, 1.5), ("hours", 1, 72), ("days", 1 / 24, 24 * 700)):
        if hours < most:
            return f"{float(f'{hours * length:.2g}'):,.10g} {unit}"
    return f"{float(f'{hours / 24 / 365.25:.2g}'):,.10g} years"
