"""A folder of people: one folder of pictures for each, from which pairs are drawn."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lresnet_utils.data.collection import Listing, deal_people, draw_folds
from lresnet_utils.data.inside import people_in

BALANCED = "balanced"
ALL = "all"


def list_people(folder: Path, pairs: str, folds: int) -> Listing:
    """List a folder of people and draw pairs.

    Parameters
    ----------
    folder : Path
        ``folder/<person>/<picture>``, JPEG, PNG, BMP or WebP.
    pairs : {"balanced", "all"}
        Both draw as many genuine as impostor pairs in folds that share no person. "all" keeps
        every picture as well, so that error rates over every pair can be computed.
    folds : int

    Returns
    -------
    Listing

    Raises
    ------
    DataError
        When there are no such folders, too few people, or a link leads out.
    """
    people, passed_over = people_in(folder)
    names = [name for pictures in people for name in pictures]
    ends = np.cumsum([len(pictures) for pictures in people]).tolist()
    of_person = [range(end - len(own), end) for end, own in zip(ends, people, strict=True)]
    fold = deal_people([len(own) for own in of_person], folds)
    left, right, same = draw_folds(of_person, fold, folds, str(folder))
    person = np.repeat(np.arange(len(people), dtype=np.int32), [len(own) for own in of_person])
    about = {"kind": "folder of people", "pairs": pairs, "n_people": len(people)}
    about["passed_over"] = passed_over
    whole = Listing(folder, names, left, right, same, person, folds, None, about)
    return whole if pairs == ALL else used_only(whole)


def used_only(listing: Listing) -> Listing:
    """Leave out the files that are in no pair; the others keep their order."""
    used, sides = np.unique(np.stack([listing.left, listing.right]), return_inverse=True)
    left, right = sides.reshape(2, -1).astype(np.int32)
    return Listing(
        folder=listing.folder,
        names=[listing.names[name] for name in used],
        left=left,
        right=right,
        same=listing.same,
        people=None if listing.people is None else listing.people[used],
        folds=listing.folds,
        about=listing.about | {"n_files_in_no_pair": len(listing.names) - len(used)},
    )
