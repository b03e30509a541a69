"""Stage 3: a set of faces becomes decoded images and pairs, stored once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from tqdm import tqdm

from lresnet_utils.data.face_set import FaceSet
from lresnet_utils.data.guide_format import write_guide_files
from lresnet_utils.data.source import ORL, build_source
from lresnet_utils.run import RunFolder, resolve
from lresnet_utils.stages.links import of_faces


def preprocess(
    run: RunFolder,
    *,
    dataset: str = ORL,
    dataset_name: str | None = None,
    variants: Sequence[str] = (),
    guide_files: Literal["no", "relative", "absolute"] = "no",
) -> FaceSet:
    """Decode a set's distinct images once and store them with the pairs.

    Parameters
    ----------
    run : RunFolder
        Gets the store in ``faces/`` and the record ``3_preprocess.json``.
    dataset, dataset_name, variants, guide_files
        As declared in :class:`lresnet_utils.params.Params`.

    Returns
    -------
    FaceSet
        The opened store.
    """
    source = dataset if dataset == ORL else resolve(dataset)
    faces = build_source(source, run.faces, name=dataset_name, variants=tuple(variants))
    record = faces.describe() | {"custody": of_faces(run, faces)}
    if guide_files != "no":
        record |= {"guide_files": _guide_files(run, faces, guide_files)}
    run.write_record("3_preprocess", None, record)
    return faces


def _guide_files(run: RunFolder, faces: FaceSet, paths: Literal["relative", "absolute"]) -> dict:
    """Write the set as the guide's script does, for its tools; see its sections 4.2 and 4.3."""
    folder = run.folder / "guide"
    with tqdm(desc="guide files", unit="image", total=2 * faces.n_pairs) as bar:
        written = write_guide_files(
            faces.images(),
            folder / "lfw",
            folder / "lfw.info",
            folder / "lfw_list.npy",
            faces.same,
            slots=np.stack([faces.left, faces.right], axis=1).ravel(),
            paths=paths,
            progress=lambda done, total: bar.update(done - bar.n),
        )
    return {"n_files": written.n_files, "bytes_per_file": written.bytes_per_file, "paths": paths}
