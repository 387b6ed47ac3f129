"""COCO's captions of pictures."""

from collections.abc import Iterable
from pathlib import Path

from sg2im_pyg.errors import Sg2ImError
from sg2im_pyg.evaluation.split import Split
from sg2im_pyg.sources.coco.layout import PARTS
from sg2im_pyg.sources.json_stream import read_entries, take, text, whole
from sg2im_pyg.study.questions import shuffled

_LONGEST = 1000  # characters


def find_captions(split: Split) -> Path | None:
    """The file of captions that lies beside COCO's annotations of a split, if there is one."""
    settings = split.dataset.reader.settings
    part = PARTS.get(str(settings.get("split")))
    if split.origin.name != "coco" or part is None:
        return None
    path = split.path.parent.parent / "annotations" / f"captions_{part}.json"
    return path if path.is_file() else None


def read_captions(path: Path, image_ids: Iterable[int], seed: int) -> dict[int, str]:
    """One caption for each of some pictures that have any, drawn by the seed.

    Args:
        path: File of COCO's captions.
        image_ids: Numbers of the pictures.
        seed: Fixes which of a picture's captions is taken.

    Raises:
        Sg2ImError: If the file is missing or malformed, or has no caption of any of the pictures.
    """
    found: dict[int, set[str]] = {image_id: set() for image_id in image_ids}
    for entry in read_entries(path, "annotations"):
        image_id, caption = take(path, "caption", entry, {"image_id": whole, "caption": text})
        words = " ".join(caption.split())
        if image_id in found and words.isprintable() and 0 < len(words) <= _LONGEST:
            found[image_id].add(words)
    chosen = {
        image_id: shuffled(sorted(texts), seed, "caption", image_id)[0]
        for image_id, texts in found.items()
        if texts
    }
    if not chosen:
        raise Sg2ImError(
            f"{path} has no caption of any picture drawn from the data: give the captions of the "
            "same part of COCO."
        )
    return chosen
