"""All options of an evaluation, of the ablation and of the training of the classifier; the texts
below the fields are the help texts of the programs."""

from dataclasses import dataclass
from typing import Literal

from sg2im_pyg.errors import Sg2ImError
from sg2im_pyg.system.options import check_options, option


@dataclass
class EvaluationConfig:
    """What is evaluated on which pictures, and how."""

    data: str
    """Prepared split to evaluate on, such as datasets/landscapes/64x64/test.h5."""
    checkpoint: list[str] = option(list, metavar="FILE")
    """Checkpoints of train/run.py or of the 2018 release, or names of models such as
    landscapes or coco64; each is a row of the table."""
    images: list[str] = option(list, metavar="DIR")
    """Folders of pictures (PNG, JPEG, ...) that any other system made for the same split; each is
    a row of the table."""
    names: list[str] = option(list, metavar="NAME")
    """Names of the rows, checkpoints first; by default they follow from the paths."""
    boxes: Literal["predicted", "true"] = "predicted"
    """Boxes that pictures are generated from."""
    masks: Literal["predicted", "true"] = "predicted"
    """Masks that pictures are generated from."""
    graphs_per_picture: int | None = option(None, least=1, most=1000)
    """Graphs that are drawn for each picture, one generated picture each; null: 5 on COCO, as
    published, and 1 elsewhere."""
    diversity_seeds: int = option(1, least=1, most=100)
    """Pictures that are generated of the first graph of each picture, with as many seeds, to see
    how they differ (diversity); 1: that is not looked at. Other figures are of the first one."""
    relationships: Literal["auto", "geometric", "stored", "both", "none"] = "auto"
    """Relationships of the graphs: drawn from the true layouts, those of the data file, both, or
    none; auto: stored ones where the data file has some, drawn ones elsewhere, and none for a
    checkpoint of ours that was trained without."""
    max_objects: int | None = option(None, least=2, most=2**31)
    """Most objects a graph, image node included; others are left out at random. null: all."""
    limit: int | None = option(None, least=1, most=2**31)
    """Evaluate on the first so many pictures of the split."""
    network: str = "auto"
    """Network for the scores of pictures: inception (weights of 2015, fetched on first use),
    imagenet (EfficientNet-Lite0, from the packages of the extra imagenet), landscapes (the small
    classifier that comes with sg2im_pyg), a TorchScript or ONNX file, or none; auto: landscapes
    for landscapes, inception for all other data."""
    network_output: Literal["auto", "logits", "probabilities", "features"] = "auto"
    """What such a file gives for a picture; auto: logits, which serve as features too."""
    network_size: int | None = option(None, least=8, most=4096)
    """Side in pixels that pictures are resized to before the network; null: as they are."""
    splits: int = option(5, least=1, most=1000)
    """Groups that pictures are divided into for the Inception score (paper: 5)."""
    kid_subsets: int = option(100, least=1, most=100_000)
    """Random subsets that KID is averaged over."""
    kid_subset_size: int | None = option(None, least=2, most=10_000_000)
    """Pictures a subset; null: 1000, and half of the split where that is less."""
    batch_size: int = option(32, least=1, most=100_000)
    """Pictures a batch; figures do not depend on it."""
    seed: int = option(0, least=0, most=2**32 - 1)
    """Fixes graphs, noise and groups."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps, ... to compute on."""
    examples: int = option(8, least=0, most=1000)
    """Rows of pictures in each part of the report; 0 for none."""
    save_images: bool = False
    """Also write each generated picture to OUTPUT/images."""

    def __post_init__(self) -> None:
        check_options(self)
        if not self.checkpoint and not self.images:
            raise Sg2ImError(
                "There is nothing to evaluate: give --checkpoint FILE, --images DIR, or both."
            )
        if self.names and len(self.names) != len(self.checkpoint) + len(self.images):
            raise Sg2ImError(
                f"There are {len(self.names)} names for {len(self.checkpoint)} checkpoints and "
                f"{len(self.images)} folders: give one for each, checkpoints first, or none."
            )


@dataclass
class AblationOptions:
    """Which rows of the paper's tables are made, and how they are evaluated."""

    config: list[str] = option(list, metavar="FILE", adds_up=True)
    """Configuration of the data set, as for train/run.py; default: landscapes."""
    rows: list[str] = option(list, metavar="ROW")
    """Rows to make; default: all."""
    take: list[str] = option(list, metavar="ROW=FILE")
    """Checkpoints of train/run.py or of the 2018 release, or names of released models, to be taken
    instead of trained."""
    output: str | None = option(None, metavar="DIR")
    """Folder of the trainings and tables; null: runs/ablation-<configuration>."""
    split: Literal["test", "val"] = "test"
    """Split to evaluate on."""
    limit: int | None = None
    """Evaluate on the first so many pictures of it; null: all."""
    graphs_per_picture: int | None = None
    """Graphs that are drawn for each picture; null: 5 on COCO, as published, and 1 elsewhere."""
    network: str = "auto"
    """Network for Inception score, FID and KID, see eval/run.py."""
    device: str = "auto"
    """Device of the evaluations."""


@dataclass
class ClassifierOptions:
    """What the classifier is trained on, and for how long."""

    root: str | None = option(None, metavar="DIR")
    """Folder of the landscapes, drawn where they are missing; null: datasets/landscapes."""
    output: str | None = option(None, metavar="FILE")
    """File to write; null: runs/landscape_classifier.pt."""
    steps: int = option(1000, least=10, most=10**7)
    """Steps of the training."""
    batch_size: int = option(128, least=2, most=10_000)
    """Pictures a step."""
    seed: int = option(0, least=0, most=2**32 - 1)
    """Fixes first weights, batches and augmentation."""
    train: int = option(10_000, least=2, most=10**7)
    """Landscapes to train on."""
    held_out: int = option(1_000, least=1, most=10**7)
    """Landscapes of val, and of test."""

    def __post_init__(self) -> None:
        check_options(self)
