"""The network behind Inception score and FID, as published."""

from sg2im_pyg.system.fetch import RemoteFile

INCEPTION = RemoteFile(
    "inception-2015-12-05.pt",
    (
        "https://nvlabs-fi-cdn.nvidia.com/stylegan2-ada-pytorch/pretrained/metrics/"
        "inception-2015-12-05.pt",
    ),
)
"""Inception v3 with the weights of 2015 that the Inception score and FID are defined with, as
TorchScript."""
