"""Stage 3: sets of faces become decoded images and pairs, stored once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from tqdm import tqdm

from lresnet_utils.data.align import alignment
from lresnet_utils.data.collection import AUTO, DEFAULT_FOLDS, PAIR_WORDS, Align
from lresnet_utils.data.face_set import FaceSet, image_file, open_store
from lresnet_utils.data.guide_files import write_guide_files
from lresnet_utils.data.known_sets import licence_of
from lresnet_utils.data.packaged import DISTRIBUTIONS
from lresnet_utils.data.source import ORL, build_source
from lresnet_utils.errors import DataError
from lresnet_utils.ledger.custody import Link, given, made
from lresnet_utils.ledger.entries import WHOLE, Ledger
from lresnet_utils.params import MoreSet
from lresnet_utils.run import RunFolder, resolve
from lresnet_utils.text.language import message


def preprocess(
    run: RunFolder,
    *,
    dataset: str = ORL,
    dataset_name: str = AUTO,
    pairs: str = AUTO,
    align: Align = AUTO,
    folds: int = DEFAULT_FOLDS,
    more: Sequence[Mapping[str, str]] = (),
    variants: Sequence[str] = (),
    guide_files: Literal["no", "relative", "absolute"] = "no",
) -> FaceSet:
    """Decode a set's distinct images once and store them with the pairs.

    Parameters
    ----------
    run : RunFolder
        Gets the store in ``faces/``, those of further sets in ``more_faces/`` and the record
        ``3_preprocess.json``.
    dataset, dataset_name, pairs, align, folds, more, variants, guide_files
        As declared in :class:`lresnet_utils.params.Params`.

    Returns
    -------
    FaceSet
        The opened store.
    """
    ledger = Ledger.of_stage(run, "3_preprocess", None, timed=False)
    further = [MoreSet(**given) for given in more]
    made_from = {
        "faces": _made_from(ledger, dataset, pairs) | {"name": dataset_name, "align": align},
        "more": [_made_from(ledger, s.source, s.pairs) | s.model_dump() for s in further],
        "folds": folds,
        "variants": list(variants),
        "guide_files": guide_files,
    }

    def make() -> dict[str, Any]:
        asked = (dataset, dataset_name, pairs, align, folds, tuple(variants))
        faces, record = _stored(run.faces, *asked)
        if guide_files != "no":
            # As the guide's script does, for its tools; see its sections 4.2 and 4.3.
            if faces.templates is not None:
                raise DataError(
                    "The guide's files hold pairs of pictures, and this set has pairs of "
                    "templates.",
                    where="dataset.guide_files",
                    fix="set dataset.guide_files to no",
                )
            folder = run.folder / "guide"
            with tqdm(desc="guide files", unit="image", total=2 * faces.n_pairs) as bar:
                written = write_guide_files(
                    faces.images(),
                    folder / "lfw",
                    folder / "lfw.info",
                    folder / "lfw_list.npy",
                    faces.same,
                    slots=faces.slots(),
                    paths=guide_files,
                    progress=lambda done, total: bar.update(done - bar.n),
                )
            record["guide_files"] = {
                "n_files": written.n_files,
                "bytes_per_file": written.bytes_per_file,
                "paths": guide_files,
            }
        record |= {"custody": of_faces(run, faces), "sets": {}}
        for item in further:
            folder = run.more_faces(item.key)
            asked = (item.source, item.name, item.pairs, item.align, folds, ())
            own, record["sets"][item.key] = _stored(folder, *asked)
            record["custody"] += of_faces(run, own)
        return record

    def files() -> list[Path]:
        stores = [run.faces, *(run.more_faces(item.key) for item in further)]
        return [path for store in stores for path in store.glob("*") if path.is_file()]

    run.write_record("3_preprocess", None, ledger.kept(WHOLE, made_from, make, files))
    return open_store(run.faces)


def _made_from(ledger: Ledger, source: str, pairs: str) -> dict[str, Any]:
    """Return what a store depends on beside its settings: the files that these name."""
    given = [source] if source == ORL else [source, ledger.sha256(resolve(source))]
    named = [pairs] if pairs in PAIR_WORDS else [pairs, ledger.sha256(resolve(pairs))]
    return {"files": [given, named]}


def _stored(folder, source, name, pairs, align, folds, variants) -> tuple[FaceSet, dict[str, Any]]:
    """Build one store, and describe it; paths count from the project's folder."""
    faces = build_source(
        source if source == ORL else resolve(source),
        folder,
        name=None if name == AUTO else name,
        variants=variants,
        pairs=pairs if pairs in PAIR_WORDS else str(resolve(pairs)),
        align=align,
        folds=folds,
    )
    # With its terms, and how faces lie that were given as aligned.
    failed = [image for image, _ in faces.failures]
    record = faces.describe() | {"licence": licence_of(source), "alignment": None}
    if record.get("n_aligned", 0) < faces.n_images - len(failed):
        record["alignment"] = alignment(faces.images(), failed)
    return faces, record


# What the decoded pictures and the degraded copies depend on.
_PICTURES = ("opencv-python-headless", "numpy")


def of_faces(run: RunFolder, faces: FaceSet) -> list[Link]:
    """Return the links from a set of faces to the image store."""
    about, source = faces.describe(), faces.record["source"]
    name = message("{name} (faces)", name=Path(source).name)
    variants = {variant["name"]: variant for variant in about["variants"]}
    tools = (*_PICTURES, *DISTRIBUTIONS.get(source, ()))
    return [
        given(
            name,
            faces.sha256,
            form=about.get("kind", ".bin set"),
            pairs_sha256=about["pairs_sha256"],
        ),
        made(run, faces.folder / "pairs.npz", [name], tools=("numpy",)),
        *(
            made(
                run,
                image_file(faces.folder, variant),
                [name],
                tools=tools,
                options={"variant": variant, "made": variants[variant]["description"]},
            )
            for variant in faces.variants
        ),
    ]
