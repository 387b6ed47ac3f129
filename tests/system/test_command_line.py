"""Dataclasses as command lines, and what is said of mistakes on them."""

from dataclasses import MISSING, dataclass, field
from typing import Literal

import pytest

from sg2im_pyg.errors import Sg2ImError
from sg2im_pyg.system.command_line import CommandLine, did_you_mean, parse_options
from sg2im_pyg.system.options import check_options, option
from sg2im_pyg.system.program import UsageError


@dataclass
class Optimizer:
    """How it learns."""

    lr: float = option(1e-3, above=0)
    """Learning rate."""
    warmup_steps: int = option(0, least=0)
    """Steps of the rise."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Decays."""

    def __post_init__(self):
        check_options(self, "optimizer.")


@dataclass
class Options:
    """What is done."""

    file: str = option(MISSING, positional=True, metavar="FILE")
    """File to read."""
    others: list[str] = option(list, positional=True, metavar="OTHER ...")
    """More files."""
    optimizer: Optimizer = field(default_factory=Optimizer)
    """How it learns."""
    image_size: list[str] = option(list, metavar="SIZE")
    """Sizes."""
    config: list[str] = option(list, adds_up=True)
    """Files of options."""
    counts: list[int] = field(default_factory=list)
    """Counts."""
    limit: int | None = option(None, least=1)
    """The first so many."""
    split: Literal["val", "test"] = "test"
    """Which."""
    overwrite: bool = False
    """Replace it."""
    resume: str | None = option(None, bare="newest")
    """Go on."""

    def __post_init__(self):
        check_options(self)


def parse(*words):
    return parse_options(Options, words, "program.py", "First line.\n    second line")


@pytest.mark.parametrize(
    ("words", "name", "value"),
    [
        (["--image_size", "64", "48x64"], "image_size", ["64", "48x64"]),
        (["--image-size", "64", "--image-size=32"], "image_size", ["32"]),
        (["--image-size+", "64", "--image-size+=32"], "image_size", ["64", "32"]),
        (["--config", "a", "--config", "b"], "config", ["a", "b"]),
        (["--overwrite", "off"], "overwrite", False),
        (["--image_size", "[64x64, a]"], "image_size", ["64x64", "a"]),
        (["--image_size", '"', "\x1b", "\ud83d\ude00", "\udc80"], "image_size", None),
        (["--counts", "1", "-2"], "counts", [1, -2]),
        (["--counts=[1, 2]"], "counts", [1, 2]),
        (["--limit", "3"], "limit", 3),
        (["--limit", "3", "--limit=null"], "limit", None),
        (["--overwrite"], "overwrite", True),
        (["--overwrite", "false"], "overwrite", False),
        (["--overwrite=false"], "overwrite", False),
        (["--overwrite", "b"], "others", ["b"]),
        (["--resume"], "resume", "newest"),
        (["--resume", "a run"], "resume", "a run"),
        (["--resume", "--overwrite"], "resume", "newest"),
        (["b", "c"], "others", ["b", "c"]),
        (["--", "--b", "c"], "others", ["--b", "c"]),
    ],
)
def test_words_become_values(words, name, value):
    options = parse("a", *words)
    assert options.file == "a"
    expected = words[1:] if value is None and name == "image_size" else value
    assert getattr(options, name) == expected


@pytest.mark.parametrize(
    "words",
    [
        ["--optimizer.warmup_steps", "7"],
        ["--optimizer.warmup-steps=7"],
        ["--optimizer", "{warmup_steps: 7}"],
        ["--optimizer={warmup_steps: 3}", "--optimizer.warmup-steps", "7"],
    ],
)
def test_groups_are_reached_by_dots_and_as_a_whole(words):
    options = parse("a", *words, "--optimizer.lr=1")
    assert options.optimizer == Optimizer(lr=1.0, warmup_steps=7)
    assert isinstance(options.optimizer.lr, float)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--lr", "1"], "There is no option --lr: did you mean --optimizer.lr?"),
        (["--optimizer.lt=1"], "There is no option --optimizer.lt: did you mean --optimizer.lr?"),
        (["--over-write"], "There is no option --over_write: did you mean --overwrite?"),
        (["--zebra"], "There is no option --zebra: see --help for all options."),
        (["-x"], "There is no option -x: see --help for all options."),
        (["--file", "b"], "There is no option --file"),
        (["--optimizer={lt: 1}"], "There is no option --optimizer.lt: did you mean --optimizer.lr"),
        (["--optimizer=3"], "--optimizer must hold options, got 3."),
        (["--optimizer.lr", "abc"], "--optimizer.lr must be a number, more than 0, got 'abc'."),
        (["--optimizer.betas=[1]"], "--optimizer.betas must be a list of 2 numbers, got '[1]'."),
        (["--limit", "many"], "--limit must be a whole number, at least 1 or null, got 'many'."),
        (["--split", "train"], "--split must be one of val, test, got 'train'."),
        (["--overwrite=maybe"], "--overwrite must be true or false, got 'maybe'."),
        (["--counts", "1", "b"], "--counts must be a list of whole numbers, got ['1', 'b']."),
        (["--limit", "--overwrite"], "--limit: expected one argument, a whole number"),
        (["--image-size"], "--image_size: expected one argument, a list of texts."),
    ],
)
def test_mistakes_in_a_persons_words(words, sentence):
    with pytest.raises(UsageError) as error:
        parse("a", *words)
    assert str(error.value).startswith(sentence) and "\n" not in str(error.value)


def test_what_must_be_given_and_what_is_too_much():
    with pytest.raises(UsageError, match="^FILE must be given: see --help"):
        parse("--overwrite")
    single = CommandLine(Optimizer, program="program")
    with pytest.raises(UsageError, match="^'more' is not expected here"):
        single.parse(["more"])


def test_a_value_out_of_range_is_said_by_the_dataclass():
    with pytest.raises(Sg2ImError) as error:
        parse("a", "--optimizer.lr=-1")
    assert str(error.value) == "optimizer.lr must be a number, more than 0, got -1.0."
    assert not isinstance(error.value, UsageError)


def test_contents_of_files_come_before_the_words():
    line = CommandLine(Options, program="program")
    contents = [("a.yaml", {"limit": 3, "optimizer": {"lr": 2}}), ("b.yaml", {"limit": 4})]
    [options] = line.fill(line.read(["a", "--optimizer.warmup_steps=5"]), contents)
    assert options == Options("a", optimizer=Optimizer(2.0, 5), limit=4)


def test_digits_in_a_file_are_text_where_a_text_is_asked_for():
    """YAML takes them for a number; on the command line they are none."""

    @dataclass
    class Texts:
        devices: str = "auto"
        root: str | None = None
        count: int = 0

    line = CommandLine(Texts, program="program")
    content = {"devices": 2, "root": 2024, "count": 3}
    assert line.fill({}, [("a.yaml", content)]) == [Texts("2", "2024", 3)]
    for wrong in (2.5, True, [2]):
        with pytest.raises(Sg2ImError, match="a.yaml: devices must be a text, got"):
            line.fill({}, [("a.yaml", {"devices": wrong})])


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ({"lr": 1}, "a.yaml: There is no option lr: did you mean optimizer.lr?"),
        (
            {"optimizer": {"lr": "abc"}},
            "a.yaml: optimizer.lr must be a number, more than 0, got 'abc'.",
        ),
        ({"optimizer": 3}, "a.yaml: optimizer must hold options, got 3."),
        ({"optimizer": None}, "a.yaml: optimizer must hold options, got null."),
        ({"split": 3}, "a.yaml: split must be one of val, test, got 3."),
        ({3: 4}, "a.yaml: There is no option 3: see --help"),
    ],
)
def test_mistakes_in_files_name_the_file(content, sentence):
    with pytest.raises(Sg2ImError) as error:
        CommandLine(Options, program="program").fill({"file": "a"}, [("a.yaml", content)])
    assert str(error.value).startswith(sentence) and not isinstance(error.value, UsageError)


def test_words_of_somebody_else_are_kept_apart():
    line = CommandLine(Optimizer, program="program")
    words = ["--lr", "1", "--steps", "3", "4", "--warmup-steps=2", "--x=1", "--betas", "[1,1]"]
    assert line.split(words) == (
        ["--lr", "1", "--warmup-steps=2", "--betas", "[1,1]"],
        ["--steps", "3", "4", "--x=1"],
    )


def test_the_help_explains_every_option(capsys):
    with pytest.raises(SystemExit) as end:
        parse("--zebra", "-h")
    assert not end.value.code
    text = capsys.readouterr().out
    assert "First line.\n    second line\n" in text and "usage: program.py " in text
    for words in (
        "FILE",
        "[OTHER ...]",
        "--overwrite [{true,false}]",
        "--image_size SIZE",
        "--optimizer.lr",
        "Learning rate.",
    ):
        assert words in text
    assert "More files." in text and "--others" not in text


def test_names_that_may_be_meant():
    names = ["losses.box", "losses.mask", "optimizer.lr", "data.name"]
    assert did_you_mean("box", names) == ["losses.box"]
    assert did_you_mean("optimiser.lr", names) == ["optimizer.lr"]
    assert did_you_mean("zebra", names) == []
