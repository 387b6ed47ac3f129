"""The folder of a run: taking it, finding it again, and what is told of it."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from filelock import FileLock, Timeout

from sg2im_pyg.errors import Sg2ImError, shortened
from sg2im_pyg.system.files import read_text, replace_when_whole
from sg2im_pyg.system.program import to_type
from sg2im_pyg.training.config import TrainingConfig, options_to_yaml

if TYPE_CHECKING:  # a command line looks for runs before torch is there
    from sg2im_pyg.training.run import Run

MOST_YAML_BYTES = 2**17
"""Of a file of options; all of them with their comments have a tenth."""

NEWEST = "newest"
"""In place of a run's name."""


@contextmanager
def begin_folder(
    config: TrainingConfig, path: Path, kind: Literal["new", "numbered", "existing"]
) -> Iterator[Path]:
    """Makes the folder of a run, see :func:`make_run_dir`, and writes its options there; until its
    end no other process may train in it.

    Raises:
        Sg2ImError: If one does.
    """
    path = make_run_dir(path, kind)
    # The system's own lock, which ends with the process, however that ends.
    lock = FileLock(path / ".training.lock", timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise Sg2ImError(
            f"Another process is training in {path}: wait for its end, or give another folder with "
            "--run_dir."
        ) from error
    try:
        for unfinished in path.glob("checkpoints/.*.tmp"):  # of a process that was killed
            unfinished.unlink(missing_ok=True)
        with replace_when_whole(path / "config.yaml") as temporary:
            temporary.write_text(options_to_yaml(asdict(config)), encoding="utf-8")
        yield path
    finally:
        with suppress(OSError):  # Windows keeps an open file; after the release it may be another's
            (path / ".training.lock").unlink(missing_ok=True)
        lock.release()


def make_run_dir(path: Path, kind: Literal["new", "numbered", "existing"]) -> Path:
    """Makes the folder of a run and takes it for this run alone, see :func:`train`.

    Raises:
        Sg2ImError: If it must be new and holds something, or is a file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    wanted, number = path, 1
    while True:
        try:
            path.mkdir()
            return path
        except FileExistsError:
            if kind == "numbered":
                number += 1
                path = wanted.with_name(f"{wanted.name}-{number}")
                continue
        if not path.is_dir():
            raise Sg2ImError(f"{path} is a file: give a folder for the run.")
        if kind == "new" and any(path.iterdir()):
            raise Sg2ImError(
                f"{path} is not empty: give a new folder for the run, or go on with a run that it "
                f"holds by --resume {path}."
            )
        return path


def summary(run: "Run") -> str:
    """What is told of a run at its start."""
    config, folder = run.config, run.folder.absolute()
    sizes = ", ".join(
        f"{name.replace('_', ' ')} {sum(p.numel() for p in player.bare.parameters()) / 1e6:.1f} M"
        for name, player in run.players.named()
    )
    height, width = config.model.image_size
    step, root = run.progress.step, Path(str(config.data.root)).absolute()
    source = run.data.training_set.reader.settings.get("source", "own data")
    start = f", going on from step {step}" if step else ""
    return (
        f"Run directory: {folder}\n"
        f"Data: {source}, {run.data.pictures} training and {run.data.held_out} "
        f"validation pictures of {height} x {width} in {root}\n"
        f"Parameters: {sizes}; device: {run.fabric.device}, {run.fabric.world_size} process(es)\n"
        f"Curves and pictures: tensorboard --logdir {folder}\n"
        f"Training: {config.steps} steps of {config.batch_size} pictures{start}; Ctrl-C saves and "
        "stops"
    )


def closing(run: "Run", whole: bool) -> str:
    """What is told of a run at its end.

    Args:
        run: The run.
        whole: Whether it came to its end.
    """
    progress, folder = run.progress, run.folder.absolute()
    step, best, loss = progress.step, progress.best_step, f"{progress.best_loss:.4f}"
    skipped, samples = progress.skipped_steps, folder / "samples.png"
    found = sorted((folder / "checkpoints").glob("*.pt"))
    checkpoints = ", ".join(str(path.relative_to(folder)) for path in found)
    best_file, graphs = best_checkpoint(folder), run.examples.absolute()
    generate = f'python eval/generate.py "{graphs}" --checkpoint "{best_file}"'
    lines = [
        (not whole, f"Stopped after step {step} of {run.config.steps}; everything is saved."),
        (not whole, f'Go on with: python train/run.py --resume "{folder}"'),
        (run.stopped_early, f"Ended at step {step}: no better validation since step {best}."),
        (whole and not run.stopped_early, f"Done: {step} steps."),
        (skipped, f"Skipped steps (loss not finite): {skipped}"),
        (best, f"Best validation loss: {loss} at step {best}"),
        (True, f"Run directory: {folder}"),
        (True, f"Checkpoints: {checkpoints}"),
        (samples.is_file(), f"Sample pictures: {samples}"),
        (whole and graphs.is_file(), f"Generate from graphs such as those there: {generate}"),
    ]
    return to_type("\n".join(line for holds, line in lines if holds))


def newest_run(runs: Path, *needed: str) -> Path | None:
    """The run that was written to last, of those that hold one of the files needed.

    Args:
        runs: Folder that holds the runs.
        *needed: Files as seen from a run's folder, such as :obj:`"checkpoints/last.pt"`.
    """

    def moment(run: Path) -> float:
        files = [run / "config.yaml", *run.glob("checkpoints/*.pt")]
        return max(file.stat().st_mtime for file in files if file.is_file())

    found = [run for run in runs.glob("*") if any((run / name).is_file() for name in needed)]
    return max(found, key=moment, default=None)


def best_checkpoint(run: Path) -> Path:
    """The best checkpoint of a run by its validations, or the last one where there were none."""
    best = run / "checkpoints" / "best.pt"
    return best if best.is_file() else best.with_name("last.pt")


def find_run(name: str, runs: Path) -> tuple[Path | None, Path | None, str]:
    """The folder, the checkpoint and the options (YAML) of a run to go on with.

    Args:
        name: Folder of a run, a checkpoint, or :obj:`"newest"`.
        runs: Folder that holds the runs.

    Returns:
        The folder is absent for a checkpoint that lies elsewhere; the checkpoint is absent where
        the run was cut off before its first one.

    Raises:
        Sg2ImError: If there is no such run.
    """
    path = Path(name)
    if name == NEWEST and not path.exists():
        newest = newest_run(runs, "config.yaml")
        if newest is None:
            raise Sg2ImError(
                f"There is no run in {runs} to go on with: say which by --resume RUN, or start a "
                "new one without --resume."
            )
        path = newest
    if path.is_file():
        from sg2im_pyg.formats.native import read_checkpoint

        training = read_checkpoint(path, to_train=True)["training"]
        inside = path.absolute().parent.name == "checkpoints"
        run_dir = path.absolute().parent.parent if inside else None
        if not isinstance(training.get("config"), dict):
            raise Sg2ImError(f"{path} does not name the options of its run: it is damaged.")
        return run_dir, path, _options_of(training["config"], path)
    options = path / "config.yaml"
    if not options.is_file():
        raise Sg2ImError(
            f"{path.absolute()} is no run that can be resumed, it has no config.yaml: give the "
            "folder that train/run.py printed, or a checkpoint."
        )
    checkpoint = path / "checkpoints" / "last.pt"
    text = read_text(options, MOST_YAML_BYTES, "file of options", "YAML")
    return path, checkpoint if checkpoint.is_file() else None, text


def _options_of(config: dict[str, Any], path: Path) -> str:
    """Options in a checkpoint, which may hold anything there, as YAML."""
    from sg2im_pyg.formats.limits import is_plain_option

    parts = [part for part in config.values() if isinstance(part, dict)]
    others = {n: None if isinstance(value, dict) else value for n, value in config.items()}
    for options in (others, *parts):
        for name, value in options.items():
            if not isinstance(name, str) or len(name) > 100 or not is_plain_option(value):
                raise Sg2ImError(
                    f"{path} has an option {shortened(repr(name))} of its run that is neither a "
                    "number, a text nor a list of such: it is damaged, give another file."
                )
    return options_to_yaml(config)
