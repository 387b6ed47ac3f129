"""Sum and mean of rows that share an index, through torch-scatter where it can be imported.

Setting the environment variable ``SG2IM_NO_TORCH_SCATTER=1`` before the import makes the library
do without torch-scatter; the results are the same.
"""

import os

import torch
from torch import Tensor

try:
    if os.environ.get("SG2IM_NO_TORCH_SCATTER", "0") not in ("", "0"):
        raise ImportError("torch-scatter is switched off by SG2IM_NO_TORCH_SCATTER")
    import torch_scatter
except (ImportError, OSError):  # OSError: built against another torch
    torch_scatter = None

WITH_TORCH_SCATTER = torch_scatter is not None


def scatter(rows: Tensor, index: Tensor, size: int, reduce: str = "mean") -> Tensor:
    """Sum or mean of the rows that share an index; zeros where there is none.

    Args:
        rows: Shape :math:`(E, F)`.
        index: Shape :math:`(E,)`, values in :math:`[0, S)`.
        size: Number of rows :math:`S` of the result.
        reduce: :obj:`"sum"` or :obj:`"mean"`.

    Returns:
        Shape :math:`(S, F)`.
    """
    # torch-scatter's operators are opaque to torch.compile, torch's own are fused there.
    if WITH_TORCH_SCATTER and not torch.compiler.is_compiling():
        return torch_scatter.scatter(rows, index, dim=0, dim_size=size, reduce=reduce)
    total = rows.new_zeros(size, rows.size(1)).index_add(0, index, rows)
    if reduce == "sum":
        return total
    count = rows.new_zeros(size).index_add(0, index, rows.new_ones(len(rows)))
    return total / count.clamp(min=1).unsqueeze(1)
