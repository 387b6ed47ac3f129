"""Trains the small classifier of landscapes whose features stand in for the Inception network's.

    python eval/train_classifier.py
    python eval/train_classifier.py --root DIR --output FILE --steps 1000 --seed 0

The weights that come with the package were made by the first command with OMP_NUM_THREADS=1, in
about four minutes on one CPU core. Landscapes that are missing are drawn. Without --output the
weights are written to runs/landscape_classifier.pt; `eval/run.py --network FILE` takes them.

The same seed gives the same weights on the same machine with the same number of threads.
"""

import sys
import time
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))  # the program runs from any directory, installed or not

import torch  # noqa: E402
from jsonargparse import ArgumentParser, Namespace  # noqa: E402
from torch import Tensor  # noqa: E402
from torch.nn import functional  # noqa: E402
from tqdm import tqdm  # noqa: E402

from sg2im_pyg.data import SceneDataset  # noqa: E402
from sg2im_pyg.errors import Sg2ImError  # noqa: E402
from sg2im_pyg.evaluation.landscape_classifier import (  # noqa: E402
    SCENE_CLASSES,
    LandscapeClassifier,
    save_classifier,
    scene_classes,
    visible_categories,
)
from sg2im_pyg.sources.landscapes.source import DRAWING, LANDSCAPE_OBJECTS, prepare_landscapes  # noqa: E402
from sg2im_pyg.system.program import run_program  # noqa: E402

LEARNING_RATE = 4e-3  # the highest, a quarter through the training
WEIGHT_DECAY = 1e-3
PRESENCE_WEIGHT = 2.0  # of the second head's loss, a mean over 16 categories


def main() -> None:
    options = parse_options()
    root, output = Path(options.root).absolute(), Path(options.output).absolute()
    if output.is_dir():
        raise Sg2ImError(f"--output {output} is a folder: give a file.")
    for name, least, most in (
        ("steps", 10, 10**7),
        ("batch_size", 2, 10_000),
        ("seed", 0, 2**32 - 1),
        ("train", 2, 10**7),
        ("held_out", 1, 10**7),
    ):
        if not least <= options[name] <= most:
            raise Sg2ImError(
                f"--{name} must lie between {least} and {most:,}, got {options[name]}."
            )

    # Data: pictures and labels of all splits, in memory.
    paths = prepare_landscapes(
        root, train=options.train, val=options.held_out, test=options.held_out
    )
    splits = {name: read_split(path) for name, path in paths.items()}
    images, classes, presence = splits["train"]

    # Network and optimizer.
    torch.manual_seed(options.seed)
    generator = torch.Generator().manual_seed(options.seed)
    classifier = LandscapeClassifier().to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(classifier.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, LEARNING_RATE, total_steps=options.steps, pct_start=0.25
    )

    # Training.
    started = time.monotonic()
    bar = tqdm(range(options.steps), unit="step", disable=None, leave=False)
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
    print(f"trained {options.steps} steps in {minutes:.1f} minutes")

    # Accuracy on pictures that it was not trained on.
    classifier.eval()
    measured = {name: measure(classifier, *splits[name]) for name in ("val", "test")}
    for name, (accuracy, most_frequent, presence_accuracy) in measured.items():
        print(
            f"{name}: class {accuracy:.3f} (the most frequent one alone: {most_frequent:.3f}), "
            f"categories {presence_accuracy:.3f}"
        )
    print_per_class(classifier, *splits["test"])

    # The file.
    save_classifier(
        output,
        classifier,
        {
            "drawing": DRAWING,
            "train_images": len(images),
            "seed": options.seed,
            "steps": options.steps,
            "batch_size": options.batch_size,
            "val_accuracy": measured["val"][0],
            "test_accuracy": measured["test"][0],
            "most_frequent_class": measured["test"][1],
            "test_categories_accuracy": measured["test"][2],
        },
    )
    print(f"written: {output} ({output.stat().st_size / 1000:.0f} KB)")


def parse_options() -> Namespace:
    """Reads the command line; mistakes in it end the program with exit status 2."""
    parser = ArgumentParser(description="Train the small classifier of landscapes.")
    option = parser.add_argument
    option(
        "--root",
        type=str,
        default=str(REPOSITORY / "datasets" / "landscapes"),
        metavar="DIR",
        help="folder of the landscapes, drawn where they are missing",
    )
    option(
        "--output",
        type=str,
        default=str(REPOSITORY / "runs" / "landscape_classifier.pt"),
        metavar="FILE",
        help="file to write",
    )
    option("--steps", type=int, default=1000, help="steps of the training")
    option("--batch_size", type=int, default=128, help="pictures a step")
    option("--seed", type=int, default=0, help="fixes first weights, batches and augmentation")
    option("--train", type=int, default=10_000, help="landscapes to train on")
    option("--held_out", type=int, default=1_000, help="landscapes of val, and of test")
    return parser.parse_args()


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
def measure(
    classifier: LandscapeClassifier, images: Tensor, classes: Tensor, presence: Tensor
) -> tuple[float, float, float]:
    """Share of the pictures whose class is right, share of the most frequent class, and share of
    the right answers whether a category can be seen."""
    right, seen = answers(classifier, images, classes, presence)
    most_frequent = classes.bincount().max().item() / len(classes)
    return right.double().mean().item(), most_frequent, seen.double().mean().item()


@torch.no_grad()
def answers(
    classifier: LandscapeClassifier, images: Tensor, classes: Tensor, presence: Tensor
) -> tuple[Tensor, Tensor]:
    """Which classes (N,) and which categories (N, 16) are said right."""
    said = [classifier(part) for part in images.split(500)]
    right = torch.cat([part.classes for part in said]).argmax(1) == classes
    return right, (torch.cat([part.presence for part in said]) > 0) == presence.bool()


def print_per_class(
    classifier: LandscapeClassifier, images: Tensor, classes: Tensor, presence: Tensor
) -> None:
    """A table of the classes and one of the categories, for the test pictures."""
    right, seen = answers(classifier, images, classes, presence)
    rows: list[tuple[str, Any, Any]] = []
    for number, name in enumerate(SCENE_CLASSES):
        own = classes == number
        rows.append((name, own, right[own]))
    print(f"\n{'class':18}{'share':>7}{'right':>7}")
    for name, own, correct in rows:
        known = f"{correct.double().mean().item():7.2f}" if len(correct) else f"{'-':>7}"
        print(f"{name:18}{own.double().mean().item():7.3f}{known}")
    print(f"\n{'category':18}{'share':>7}{'right':>7}")
    for number, name in enumerate(LANDSCAPE_OBJECTS):
        share, correct = presence[:, number].mean().item(), seen[:, number].double().mean().item()
        print(f"{name:18}{share:7.3f}{correct:7.2f}")
    print()


if __name__ == "__main__":
    run_program(main)
