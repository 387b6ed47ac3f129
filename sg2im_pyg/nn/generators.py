"""The networks that turn a layout into pictures: what one must offer, and their table.

A new one fulfils :class:`Generator`, stands in a module of its own beside this one, and takes a row
by :func:`register_generator`; from then on its name is a value of the option ``model.generator``.
Options are checked by this table before torch is there: a row imports its network when it makes it.
"""

from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from sg2im_pyg.errors import Sg2ImError, nearest, shortened

if TYPE_CHECKING:
    from torch import Tensor

    from sg2im_pyg.nn.compiled_part import CompiledPart
    from sg2im_pyg.nn.layout import FactoredLayout


class Generator(Protocol):
    """A :class:`torch.nn.Module` that turns a layout into pictures.

    What it is called with, and all of its weights, may have any precision and any order in memory.

    Attributes:
        takes_factored: Whether a layout may come as a :class:`FactoredLayout`, which has fewer
            numbers where objects are few; otherwise it always comes multiplied out.
    """

    takes_factored: bool

    def __call__(
        self, layout: "Tensor | FactoredLayout", noise: "Tensor | None" = None, /
    ) -> "Tensor":
        """Pictures in the ImageNet normalisation.

        Args:
            layout: Shape :math:`(N, D, H, W)`; the sides are those that its row accepts.
            noise: Channels that follow those of the layout, :math:`(N, P, H, W)`; none where a
                model has no noise.

        Returns:
            Shape :math:`(N, 3, H, W)`.
        """

    def reset_parameters(self) -> None:
        """Draws all weights anew."""

    def fold(self) -> None:
        """Makes it faster for generation alone: the same pictures in eval mode, without regard to
        later changes of the weights. It may do nothing."""

    def parts_to_compile(self) -> "Iterable[CompiledPart]":
        """Parts that a training with ``hardware.compile`` compiles; there may be none."""


class GeneratorKind(NamedTuple):
    """A row of :data:`GENERATORS`."""

    make: Callable[[int, Any], Generator]
    """Makes the network from the number of channels of layout and noise together, and the options:
    a :class:`~sg2im_pyg.model_config.ModelConfig`, of which it reads what concerns it."""
    check: Callable[[Any], None]
    """Raises :class:`Sg2ImError` at options that it can not be made with or whose
    :obj:`image_size` it can not give; each option is known to be in its own range."""


GENERATORS: dict[str, GeneratorKind] = {}
"""All generators by name; :func:`register_generator` adds one."""


def register_generator(
    name: str,
    make: Callable[[int, Any], Generator],
    check: Callable[[Any], None] = lambda options: None,
) -> None:
    """Adds a generator, or puts one in the place of another of the same name; the arguments are
    those of :class:`GeneratorKind`."""
    GENERATORS[name] = GeneratorKind(make, check)


def find_generator(name: str) -> GeneratorKind:
    """The generator of a name.

    Raises:
        Sg2ImError: If there is none; the nearest are named.
    """
    if isinstance(name, str) and name in GENERATORS:
        return GENERATORS[name]
    raise Sg2ImError(f"There is no generator {shortened(repr(name))}: {nearest(name, GENERATORS)}")


def _make_crn(channels: int, options: Any, sharp: bool = False) -> Generator:
    from sg2im_pyg.nn.refinement import RefinementNetwork

    return RefinementNetwork(
        channels,
        options.refinement_dims,
        options.normalization,
        negative_slope=options.negative_slope,
        sharp=sharp,
        noise_channels=options.layout_noise_dim,
    )


def _check_crn(options: Any) -> None:
    modules = len(options.refinement_dims)
    _check_sides(options.image_size, modules, f"{modules} refinement modules")


def _check_sides(size: tuple[int, int], halvings: int, parts: str) -> None:
    """Checks that a picture's sides can be halved so many times."""
    height, width = size
    if height % 2**halvings or width % 2**halvings:
        raise Sg2ImError(
            f"image_size is {height} x {width}, but {parts} need sides that are multiples of "
            f"{2**halvings}: choose such a size, or fewer refinement_dims."
        )


register_generator("crn", _make_crn, _check_crn)
register_generator("sharp_crn", partial(_make_crn, sharp=True), _check_crn)


def _make_spade(channels: int, options: Any) -> Generator:
    from sg2im_pyg.nn.spade import SpadeGenerator

    return SpadeGenerator(
        channels,
        options.refinement_dims,
        options.modulation_dim,
        options.modulation_kernel,
        options.layout_noise_dim,
    )


def _check_spade(options: Any) -> None:
    blocks = len(options.refinement_dims)
    _check_sides(options.image_size, blocks - 1, f"{blocks} blocks of spade")


register_generator("spade", _make_spade, _check_spade)
