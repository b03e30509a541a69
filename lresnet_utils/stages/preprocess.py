"""Stage 3: a set of faces becomes decoded images and pairs, stored once."""

from __future__ import annotations

from collections.abc import Sequence

from lresnet_utils.data.face_set import FaceSet
from lresnet_utils.data.source import ORL, build_source
from lresnet_utils.run import RunFolder, resolve


def preprocess(
    run: RunFolder,
    *,
    dataset: str = ORL,
    dataset_name: str | None = None,
    variants: Sequence[str] = (),
) -> FaceSet:
    """Decode a set's distinct images once and store them with the pairs.

    Parameters
    ----------
    run : RunFolder
        Gets the store in ``faces/`` and the record ``3_preprocess.json``.
    dataset, dataset_name, variants
        As declared in :class:`lresnet_utils.params.Params`.

    Returns
    -------
    FaceSet
        The opened store.
    """
    source = dataset if dataset == ORL else resolve(dataset)
    faces = build_source(source, run.faces, name=dataset_name, variants=tuple(variants))
    run.write_record("3_preprocess", None, faces.describe())
    return faces
