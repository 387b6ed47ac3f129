"""Which training fits own data: its masks, and steps for its number of pictures."""

from typing import Any

from sg2im_pyg.data.store import SceneReader
from sg2im_pyg.sources.pictures import Paths

MANY_PICTURES = 10_000
"""From so many on, the published model is worth its time."""

_EPOCHS = 100
_FEWEST_STEPS, _MOST_STEPS = 500, 10_000
_BATCH = 16  # of the configuration for few pictures


def training_options(paths: Paths) -> dict[str, Any]:
    """Options of a training on the stores of the first size.

    With few pictures the small model of the default configuration is trained for some hundred to
    some thousand steps, a hundred times over each picture; with many the published one.
    """
    store = SceneReader(next(iter(paths.values()))["train"])
    masks = store.mask_size
    options: dict[str, Any] = {"model.mask_size": masks, "losses.mask": None if masks else 0}
    if len(store) >= MANY_PICTURES:
        return options | {"config": "coco64" if masks else "vg64"}
    steps = min(max(len(store) * _EPOCHS // _BATCH, _FEWEST_STEPS), _MOST_STEPS)
    steps = round(steps, -2)
    # The learning rate falls over all steps: validations and samples must come in between.
    return options | {"steps": steps, "validate_every": steps // 5, "checkpoint_every": steps // 5}
