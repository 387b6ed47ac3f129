"""Converts checkpoints between the formats of sg2im_pyg and the 2018 release, and to safetensors.

    python eval/convert.py coco64.pt converted.pt             the release's file into ours
    python eval/convert.py RUN/checkpoints/best.pt best.pt    ours into the release's format
    python eval/convert.py FILE OUTPUT --to sg2im_pyg         only the networks of a checkpoint
    python eval/convert.py FILE OUTPUT --overwrite            where OUTPUT is there already
    python eval/convert.py FILE model.safetensors --half      the generator alone, to pass on

Generator, discriminators and vocabulary are converted without loss: converting back gives the same
weights, bit for bit. What a training needs to go on (optimizers, random states, progress) is left
out; train/run.py --init starts a new training from either format. A safetensors file holds the
generator alone, in half the bytes with --half, and the options and the step of its training; the
same FILE gives the same bytes.
"""

from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sg2im_pyg.errors import Sg2ImError
from sg2im_pyg.system.command_line import parse_options
from sg2im_pyg.system.options import option
from sg2im_pyg.system.program import program_name

if TYPE_CHECKING:  # it takes seconds: what is wrong on a command line is said before
    from sg2im_pyg.data import Vocabulary

FORMATS = {"released": "the 2018 release", "sg2im_pyg": "sg2im_pyg", "safetensors": "safetensors"}


@dataclass
class ConvertOptions:
    """What is converted."""

    file: str = option(MISSING, positional=True)
    """Checkpoint of train/run.py or of the 2018 release."""
    output: str = option(MISSING, positional=True)
    """File to write."""
    to: str | None = option(None, metavar="{released,sg2im_pyg,safetensors}")
    """Format to write; null: safetensors where OUTPUT ends so, otherwise the release's for a
    checkpoint of sg2im_pyg, and sg2im_pyg's for all others."""
    half: bool = False
    """Round the weights in a safetensors file to 16 bits; biases and statistics keep theirs."""
    note: str | None = None
    """A text to keep in a safetensors file, such as the command and the commit that made FILE."""
    overwrite: bool = False
    """Replace OUTPUT if it is there already."""

    def __post_init__(self) -> None:
        if self.to not in (None, *FORMATS):
            raise Sg2ImError(f"--to must be {' or '.join(FORMATS)}, got {self.to!r}.")
        if self.to is None and self.output.endswith(".safetensors"):
            self.to = "safetensors"
        if self.to != "safetensors" and (self.half or self.note is not None):
            raise Sg2ImError(
                "--half and --note are for safetensors files: give an OUTPUT that ends in "
                ".safetensors, or --to safetensors."
            )


def main(arguments: list[str] | None = None, base: Path | None = None) -> None:
    """Converts as a command line says; see :data:`~sg2im_pyg.system.program.COMMANDS`."""
    options = parse_options(ConvertOptions, arguments, program_name("convert"), __doc__)
    source, output = Path(options.file).absolute(), Path(options.output).absolute()
    if output.is_dir():
        raise Sg2ImError(f"{output} is a folder: give a file to write.")
    if output.exists() and not output.is_file():  # renaming would put a file in its place
        raise Sg2ImError(f"{output} is a device or a pipe: give a file to write.")
    if any(folder.is_file() for folder in output.parents):
        raise Sg2ImError(f"{output} lies below a file: give a file in a folder.")
    if output.exists() and not options.overwrite:
        raise Sg2ImError(f"{output} is there already: give another file, or --overwrite.")
    if not source.exists():
        raise Sg2ImError(f"There is no checkpoint {source}: check the path.")

    from sg2im_pyg.checkpoint import (
        players_from_entries,
        save_checkpoint,
        save_released,
        save_safetensors,
    )
    from sg2im_pyg.formats.native import file_entries
    from sg2im_pyg.formats.released import RELEASED_DISCRIMINATORS, is_released
    from sg2im_pyg.formats.safetensors_file import is_safetensors

    entries = file_entries(source)
    players = players_from_entries(entries, source)
    before = "released" if is_released(entries) else "sg2im_pyg"
    if is_safetensors(source):
        before = "safetensors"
    after = options.to or ("released" if before == "sg2im_pyg" else "sg2im_pyg")
    kept, lost = dict(players.discriminators), []
    if after == "safetensors":
        lost, kept = (["the discriminators"] if kept else []), {}
        save_safetensors(output, players.model, origin(entries, options.note), options.half)
    elif after == "released":
        for name in [name for name in kept if name not in RELEASED_DISCRIMINATORS]:
            del kept[name]
            lost.append(f"the {name.replace('_', ' ')}")
        save_released(output, players.model, kept)
    else:
        save_checkpoint(output, players.model, discriminators=kept)

    networks = [
        f"{name.replace('_', ' ')} ({sum(p.numel() for p in network.parameters()):,} parameters)"
        for name, network in {"generator": players.model, **kept}.items()
    ]
    print(f"read        {source} (format of {FORMATS[before]})")
    print(f"wrote       {output} (format of {FORMATS[after]})")
    print(f"vocabulary  {count_names(players.model.vocabulary)}")
    print(f"networks    {', '.join(networks)}")
    print(f"left out    {', '.join(lost + left_out(entries, after)) or 'nothing'}")


def count_names(vocabulary: "Vocabulary") -> str:
    """How many names there are, and how many indices that no name has."""
    from sg2im_pyg.data.vocabulary import UNUSED

    counts = []
    for kind, names in (("objects", vocabulary.objects), ("predicates", vocabulary.predicates)):
        unused = names.count(UNUSED)
        hole = f" and {unused} unused indices" if unused else ""
        counts.append(f"{len(names) - unused} {kind}{hole}")
    return f"{', '.join(counts)}, the special names included"


def origin(entries: dict[str, Any], note: str | None) -> dict[str, Any]:
    """How a generator was trained, for people elsewhere: without folders of the machine that did
    it."""
    from sg2im_pyg.formats.native import entry_of

    training = entry_of(entries, "training") or entry_of(entries, "origin")
    config, step = entry_of(training, "config"), entry_of(training, "progress", "step")
    if isinstance(config, dict):
        config = dict(config)
        if isinstance(config.get("data"), dict):
            config["data"] = {k: value for k, value in config["data"].items() if k != "root"}
        if config.get("init") is not None:
            config["init"] = Path(str(config["init"])).name
    found = {
        "config": config,
        "progress": None if step is None else {"step": step},
        "note": entry_of(training, "note") if note is None else note,
    }
    return {name: value for name, value in found.items() if value is not None}


def left_out(entries: dict[str, Any], after: str) -> list[str]:
    """What a file holds beside its networks, and one of the format written does not."""
    from sg2im_pyg.formats.native import entry_of
    from sg2im_pyg.formats.released import is_released

    found = []
    if is_released(entries):
        found += ["optimizer states"] if entries.get("optim_state") else []
        if any(entries.get(name) for name in ("losses", "d_losses", "checkpoint_ts")):
            found.append("training histories")
        if any("rel_aux_net." in key for key in entries["model_state"]):
            found.append("the head for relations that was given up")
        if any("classifier." in key for key in entries.get("d_img_state") or ()):
            found.append("the image discriminator's convolution that is never called")
    elif entries.get("training"):
        step = entry_of(entries, "training", "progress", "step")
        reached = f" after step {step}" if isinstance(step, int) else ""
        options = "" if after == "safetensors" else "options, "
        found.append(f"the training's {options}optimizer and random states, and progress{reached}")
    elif entries.get("origin") and after != "safetensors":
        found.append("how the generator was trained")
    return found
