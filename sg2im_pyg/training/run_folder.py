"""The folder of a run: taking it, finding it again, and what is told of it."""

from pathlib import Path
from typing import Literal

from lightning_fabric import Fabric

from sg2im_pyg.errors import Sg2ImError
from sg2im_pyg.formats.native import read_checkpoint
from sg2im_pyg.system.program import as_started
from sg2im_pyg.training.config import TrainingConfig, options_to_yaml
from sg2im_pyg.training.data import data_root
from sg2im_pyg.training.players import Players
from sg2im_pyg.training.resume import Progress


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
        for unfinished in path.glob("checkpoints/.*.tmp"):  # of a process that was killed
            unfinished.unlink(missing_ok=True)
        return path


def _summary(
    config: TrainingConfig,
    run_dir: Path,
    fabric: Fabric,
    pictures: int,
    held_out: int,
    players: Players,
    progress: Progress,
) -> str:
    sizes = ", ".join(
        f"{name.replace('_', ' ')} {sum(p.numel() for p in player.bare.parameters()) / 1e6:.1f} M"
        for name, player in players.named()
    )
    height, width = config.model.image_size
    start = f", going on from step {progress.step}" if progress.step else ""
    return (
        f"Run directory: {run_dir.absolute()}\n"
        f"Data: {config.data.name}, {pictures} training and {held_out} validation pictures of "
        f"{height} x {width} in {data_root(config).absolute()}\n"
        f"Parameters: {sizes}; device: {fabric.device}, {fabric.world_size} process(es)\n"
        f"Curves and pictures: tensorboard --logdir {run_dir.absolute()}\n"
        f"Training: {config.steps} steps of {config.batch_size} pictures{start}; Ctrl-C saves and "
        "stops"
    )


def _closing(
    config: TrainingConfig, run_dir: Path, progress: Progress, whole: bool, early: bool
) -> str:
    run_dir = run_dir.absolute()
    lines = []
    if not whole:
        lines.append(f"Stopped after step {progress.step} of {config.steps}; everything is saved.")
        lines.append(f'Go on with: python train/run.py --resume "{run_dir}"')
    elif early:
        lines.append(
            f"Ended at step {progress.step}: no better validation since step {progress.best_step}."
        )
    else:
        lines.append(f"Done: {progress.step} steps.")
    if progress.skipped_steps:
        lines.append(f"Skipped steps (loss not finite): {progress.skipped_steps}")
    if progress.best_step:
        lines.append(f"Best validation loss: {progress.best_loss:.4f} at step {progress.best_step}")
    lines.append(f"Run directory: {run_dir}")
    checkpoints = [
        str(path.relative_to(run_dir)) for path in sorted((run_dir / "checkpoints").glob("*.pt"))
    ]
    lines.append(f"Checkpoints: {', '.join(checkpoints)}")
    if (run_dir / "samples.png").is_file():
        lines.append(f"Sample pictures: {run_dir / 'samples.png'}")
    if whole:
        chosen = best_checkpoint(run_dir)
        lines.append(
            f'Generate from your own graphs: python eval/generate.py --checkpoint "{chosen}"'
        )
    return as_started("\n".join(lines))


NEWEST = "newest"
"""In place of a run's name."""


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
        training = read_checkpoint(path).get("training")
        if training is None:
            raise Sg2ImError(
                f"{path} holds only the generator, so training can not go on from it: give a "
                "checkpoint that train/run.py wrote."
            )
        inside = path.absolute().parent.name == "checkpoints"
        run_dir = path.absolute().parent.parent if inside else None
        if not isinstance(training.get("config"), dict):
            raise Sg2ImError(f"{path} does not name the options of its run: it is damaged.")
        return run_dir, path, options_to_yaml(training["config"])
    options = path / "config.yaml"
    if not options.is_file():
        raise Sg2ImError(
            f"{path.absolute()} is no run that can be resumed, it has no config.yaml: give the "
            "folder that train/run.py printed, or a checkpoint."
        )
    checkpoint = path / "checkpoints" / "last.pt"
    return path, checkpoint if checkpoint.is_file() else None, options.read_text(encoding="utf-8")
