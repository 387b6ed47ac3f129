"""Batches on their way from a worker process.

torch sends each tensor in shared memory of its own, and each piece costs a connection between the
processes: for the dozen tensors of a batch, longer than assembling it. Here all of them travel in
one piece.
"""

import io
import math
import pickle
from typing import Any

import torch
from torch import Tensor

_ALIGNMENT = 64  # bytes; a multiple of every number's size
_SMALL = 2**16  # bytes


class Parcel:
    """What is sent; unpickled, it is the content itself.

    Args:
        content: Anything that can be pickled. Tensors on the CPU in it travel in shared memory.
    """

    def __init__(self, content: Any) -> None:
        self.content = content

    def __reduce__(self) -> tuple[Any, ...]:
        file = io.BytesIO()
        packer = _Packer(file)
        packer.dump(self.content)
        memory = torch.empty(max(packer.size, 1), dtype=torch.uint8, device="cpu").share_memory_()
        for start, tensor in packer.tensors.values():
            _view(memory, start, tensor.shape, tensor.dtype).copy_(tensor)
        return _unpack, (memory, file.getvalue())


def _unpack(memory: Tensor, content: bytes) -> Any:
    return _Unpacker(io.BytesIO(content), memory).load()


class _Packer(pickle.Pickler):
    """A pickler that leaves tensors out and notes where they go in a piece of memory."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, pickle.HIGHEST_PROTOCOL)
        self.tensors: dict[int, tuple[int, Tensor]] = {}
        self.size = 0

    def persistent_id(self, obj: Any) -> Any:
        if (
            type(obj) is not Tensor
            or obj.device.type != "cpu"
            or obj.layout != torch.strided
            or obj.is_quantized
            or obj.requires_grad
        ):
            return None
        if id(obj) not in self.tensors:
            self.tensors[id(obj)] = self.size, obj
            self.size += -(-obj.nbytes // _ALIGNMENT) * _ALIGNMENT
        return self.tensors[id(obj)][0], tuple(obj.shape), obj.dtype


class _Unpacker(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, memory: Tensor) -> None:
        super().__init__(file)
        self.memory = memory

    def persistent_load(self, pid: Any) -> Tensor:
        found = _view(self.memory, *pid)
        # A small tensor that somebody keeps must not keep the pictures of its batch.
        return found.clone() if found.nbytes <= _SMALL else found


def _view(memory: Tensor, start: int, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    size = math.prod(shape) * dtype.itemsize
    return memory[start : start + size].view(dtype).view(shape)
