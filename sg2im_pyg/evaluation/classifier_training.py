"""Training of the small classifier of landscapes."""

import time
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm

from sg2im_pyg.data import SceneDataset
from sg2im_pyg.evaluation.config import ClassifierOptions
from sg2im_pyg.evaluation.landscape_classifier import (
    SCENE_CLASSES,
    LandscapeClassifier,
    save_classifier,
    scene_classes,
    visible_categories,
)
from sg2im_pyg.evaluation.layout_metrics import mean
from sg2im_pyg.evaluation.text import format_number
from sg2im_pyg.sources.landscapes.source import DRAWING, LANDSCAPE_OBJECTS, prepare_landscapes

LEARNING_RATE = 4e-3  # the highest, a quarter through the training
WEIGHT_DECAY = 1e-3
PRESENCE_WEIGHT = 2.0  # of the second head's loss, a mean over 16 categories


def train_classifier(root: Path, output: Path, options: ClassifierOptions) -> None:
    """Trains the classifier, prints how well it does, and writes it.

    Args:
        root: Folder of the landscapes, drawn where they are missing.
        output: File to write.
        options: All other options.
    """
    seed, steps, held_out = options.seed, options.steps, options.held_out

    # Data: pictures and labels of all splits, in memory.
    paths = prepare_landscapes(root, train=options.train, val=held_out, test=held_out)
    splits = {name: read_split(path) for name, path in paths.items()}
    images, classes, presence = splits["train"]

    # Network and optimizer.
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    classifier = LandscapeClassifier().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(classifier.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, LEARNING_RATE, total_steps=steps, pct_start=0.25
    )

    # Training.
    started = time.monotonic()
    bar = tqdm(range(steps), unit="step", disable=None, leave=False)
    for _ in bar:
        rows = torch.randint(len(images), (options.batch_size,), generator=generator)
        said = classifier.classify(augment(images[rows], generator))
        class_loss = functional.cross_entropy(said.classes, classes[rows])
        presence_loss = functional.binary_cross_entropy_with_logits(said.presence, presence[rows])
        loss = class_loss + PRESENCE_WEIGHT * presence_loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        bar.set_postfix(classes=f"{class_loss:.3f}", presence=f"{presence_loss:.3f}")
    minutes = (time.monotonic() - started) / 60
    print(f"trained {steps} steps in {minutes:.1f} minutes")

    # Accuracy on pictures that it was not trained on.
    classifier.eval()
    shares: dict[str, float] = {}
    for name in ("val", "test"):
        images, classes, presence = splits[name]
        right, seen = answers(classifier, images, classes, presence)
        most_frequent = classes.bincount().max().item() / len(classes)
        shares[name], of_categories = mean(right).item(), mean(seen).item()
        print(
            f"{name}: class {shares[name]:.3f} (the most frequent one alone: {most_frequent:.3f}), "
            f"categories {of_categories:.3f}"
        )
    print_per_class(right, seen, classes, presence)  # of test

    # The file.
    save_classifier(
        output,
        classifier,
        {
            "drawing": DRAWING,
            "train_images": len(splits["train"][0]),
            "seed": seed,
            "steps": steps,
            "batch_size": options.batch_size,
            "val_accuracy": shares["val"],
            "test_accuracy": shares["test"],
            "most_frequent_class": most_frequent,
            "test_categories_accuracy": of_categories,
        },
    )
    print(f"written: {output} ({output.stat().st_size / 1000:.0f} KB)")


def read_split(path: Path) -> tuple[Tensor, Tensor, Tensor]:
    """Pictures (N, 3, H, W), their classes (N,) and what can be seen in them (N, 16), float."""
    dataset = SceneDataset(path)
    graphs = dataset.assemble(range(len(dataset)))
    return graphs.image, scene_classes(graphs), visible_categories(graphs).float()


def augment(images: Tensor, generator: torch.Generator) -> Tensor:
    """uint8 pictures as float32 from -1 to 1, mirrored, blurred, with noise and other colours.

    Generated pictures are blurred and have colours of their own: a classifier that relied on how
    sharp the drawings are would say nothing of what generated pictures show.
    """
    count = len(images)

    def draw(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator)

    mirrored = draw(count, 1, 1, 1) < 0.5
    images = torch.where(mirrored, images.flip(3), images).float() / 127.5 - 1
    # A blur of one random width a batch, on half of the pictures: cheaper than one a picture.
    sigma = 0.4 + 1.2 * draw(1)
    weights = torch.exp(-torch.arange(-3, 4).square() / (2 * sigma.square()))
    weights = (weights / weights.sum()).expand(3, 1, 1, 7)
    blurred = functional.pad(images, (3, 3, 3, 3), mode="replicate")
    blurred = functional.conv2d(blurred, weights, groups=3)
    blurred = functional.conv2d(blurred, weights.transpose(2, 3), groups=3)
    images = torch.where(draw(count, 1, 1, 1) < 0.5, blurred, images)
    # Brightness and contrast of each channel, about a tenth of the range.
    images = images * (0.9 + 0.2 * draw(count, 3, 1, 1)) + 0.2 * (draw(count, 3, 1, 1) - 0.5)
    noise = torch.randn(images.shape, generator=generator) * 0.08 * draw(count, 1, 1, 1)
    return (images + noise).clamp(-1, 1).contiguous(memory_format=torch.channels_last)


@torch.no_grad()
def answers(
    classifier: LandscapeClassifier, images: Tensor, classes: Tensor, presence: Tensor
) -> tuple[Tensor, Tensor]:
    """Which classes (N,) and which categories (N, 16) are said right."""
    said = [classifier(part) for part in images.split(500)]
    right = torch.cat([part.classes for part in said]).argmax(1) == classes
    return right, (torch.cat([part.presence for part in said]) > 0) == presence.bool()


def print_per_class(right: Tensor, seen: Tensor, classes: Tensor, presence: Tensor) -> None:
    """A table of the classes and one of the categories: how frequent each is, and how often it is
    said right; see :func:`answers`."""
    members = functional.one_hot(classes, len(SCENE_CLASSES)).bool().t()
    tables = {
        "class": [(name, own, right[own]) for name, own in zip(SCENE_CLASSES, members)],
        "category": list(zip(LANDSCAPE_OBJECTS, presence.t(), seen.t())),
    }
    for title, rows in tables.items():
        print(f"\n{title:18}{'share':>7}{'right':>7}")
        for name, own, said in rows:
            print(f"{name:18}{mean(own):7.3f}{format_number(mean(said).item(), 2):>7}")
    print()
