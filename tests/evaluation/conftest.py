"""Tiny landscapes, and tiny models that were never trained."""

import pytest
import torch

from sg2im_pyg import Sg2Im
from sg2im_pyg.checkpoint import save_checkpoint
from sg2im_pyg.sources.landscapes.source import landscape_vocabulary, prepare_landscapes

SIZE = (16, 16)


@pytest.fixture(scope="session")
def stores(tmp_path_factory):
    """Paths of 2 + 7 + 12 landscapes of 16 x 16, by split."""
    root = tmp_path_factory.mktemp("landscapes")
    return prepare_landscapes(root, SIZE, 4, 2, 7, 12, workers=1, progress=False)


def tiny_model(seed=0, vocabulary=None, **options):
    torch.manual_seed(seed)
    defaults = {
        "image_size": SIZE,
        "embedding_dim": 8,
        "gconv_dim": 8,
        "gconv_hidden_dim": 8,
        "gconv_num_layers": 2,
        "mask_size": 4,
        "layout_noise_dim": 2,
        "refinement_dims": (8, 4),
    }
    model = Sg2Im(vocabulary or landscape_vocabulary(), **{**defaults, **options})
    # As if it had been trained: batch norm with statistics of its own.
    for name, buffer in model.named_buffers():
        if name.endswith("running_var"):
            buffer.uniform_(0.5, 1.5)
    return model.eval()


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("a run") / "checkpoints" / "best.pt"
    save_checkpoint(path, tiny_model())
    return path
