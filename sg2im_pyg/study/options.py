"""All options of a study's making and of its scores; the texts below the fields are the help texts
of the program."""

from dataclasses import MISSING, dataclass
from typing import Literal

from sg2im_pyg.errors import Sg2ImError
from sg2im_pyg.evaluation.config import EvaluationConfig
from sg2im_pyg.study.questions import KINDS, Kind
from sg2im_pyg.system.options import check_options, option


@dataclass
class MakeOptions:
    """Draw questions about pictures of two or more systems, and write a folder to ask them from."""

    data: str
    """Prepared split whose scenes are asked about, such as datasets/landscapes/64x64/test.h5."""
    checkpoint: list[str] = option(list, metavar="FILE")
    """Systems that are checkpoints of train/run.py or of the 2018 release, or names of models."""
    images: list[str] = option(list, metavar="DIR")
    """Systems that are folders of pictures (PNG, JPEG, ...), made of the same split by any other
    system. A picture's name ends in the number of the true picture, as in 000000000139.png or
    COCO_val2014_000000000139_0.jpg; other names are matched in their order, where there is one
    picture for each of the split."""
    names: list[str] = option(list, metavar="NAME")
    """Names of the systems, checkpoints first; by default they follow from the paths."""
    output: str | None = option(None, metavar="DIR")
    """Folder to write, which must not be there yet; null: runs/study."""
    kinds: list[Kind] = option(lambda: list(KINDS), metavar="KIND")
    """What is asked: caption (which of two pictures fits the caption), objects (which of the
    objects can be recognised), relations (which of the relations can be seen)."""
    scenes: int = option(50, least=1, most=10_000)
    """Scenes that are drawn. Of each there is a question of each kind for each system, and for
    each pair of systems where pictures are matched with captions."""
    captions: str | None = option(None, metavar="FILE")
    """COCO's file of captions, captions_val2017.json; null: the one in the folder annotations of
    the data's root, where there is one. Scenes without a caption get one made of their graph."""
    questions_per_person: int = option(30, least=1, most=1000)
    """Questions of each participant, attention checks apart."""
    checks_per_person: int = option(5, least=0, most=100)
    """Attention checks of each participant: a true picture against a shuffled one, or true and
    false names for a true picture."""
    checks: int = option(15, least=0, most=1000)
    """Attention checks that these are taken from; as many of each kind."""
    title: str = "A study of pictures"
    """Title of the study, as participants see it."""
    consent: str | None = option(None, metavar="FILE")
    """Text that participants agree to before the first question; blank lines part paragraphs."""
    relationships: Literal["auto", "geometric", "stored"] = "auto"
    """Relationships of the graphs: drawn from the true layouts, or those of the data file; auto:
    stored ones on Visual Genome, drawn ones elsewhere."""
    max_objects: int | None = option(None, least=2, most=2**31)
    """Most objects a graph, image node included; others are left out at random. null: all."""
    batch_size: int = option(32, least=1, most=100_000)
    """Pictures that are generated at once."""
    seed: int = option(0, least=0, most=2**32 - 1)
    """Fixes scenes, graphs, noise, order, sides and checks."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps, ... to generate on."""

    def __post_init__(self) -> None:
        check_options(self)
        self.kinds = [kind for kind in KINDS if kind in self.kinds]
        if not self.kinds:
            raise Sg2ImError(f"There is nothing to ask: give --kinds, some of {', '.join(KINDS)}.")
        if len(self.checkpoint) + len(self.images) < 2:
            raise Sg2ImError(
                "A study compares two or more systems: give --checkpoint FILE and --images DIR, "
                "two or more of them in all."
            )
        self.evaluation()

    def evaluation(self) -> EvaluationConfig:
        """How the systems are opened, and pictures generated: as in an evaluation."""
        return EvaluationConfig(
            data=self.data,
            checkpoint=self.checkpoint,
            images=self.images,
            names=self.names,
            graphs_per_picture=1,
            relationships="auto",
            max_objects=self.max_objects,
            network="none",
            batch_size=self.batch_size,
            seed=self.seed,
            device=self.device,
        )


@dataclass
class ScoreOptions:
    """Count the answers of a study: figures, tables and a plot."""

    study: str = option(MISSING, positional=True, metavar="STUDY")
    """Folder of the study."""
    answers: str | None = option(None, metavar="FILE")
    """Where the answers are: a CSV file with the columns participant, number, question, choice,
    milliseconds and completed, a file answers.sqlite, or the URL of a database; null:
    answers.sqlite in the study's folder."""
    output: str | None = option(None, metavar="DIR")
    """Folder to write to; null: scores in the study's folder."""
    pass_checks: float = option(0.8, least=0, most=1)
    """Share of the attention checks that somebody must have passed to be counted."""
    unfinished: bool = False
    """Count also those who did not answer all of their questions."""
    least_votes: int = option(1, least=1, most=1_000_000)
    """Questions that fewer participants answered are left out."""
    confidence: float = option(0.95, above=0, below=1)
    """Confidence of the intervals."""

    def __post_init__(self) -> None:
        check_options(self)
