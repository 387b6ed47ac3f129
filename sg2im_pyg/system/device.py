"""Which device a program computes on."""

import torch

from sg2im_pyg.errors import Sg2ImError


def choose_device(name: str) -> torch.device:
    """The device of a name; :obj:`"auto"` is CUDA, Apple's MPS or the CPU, the first there is.

    Raises:
        Sg2ImError: If it is unknown or can not be used here.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device).cpu()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise Sg2ImError(
            f"The device {name!r} is unknown or can not be used here: give auto, cpu, or another "
            "device of this machine."
        ) from error
    return device
