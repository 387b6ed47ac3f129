"""Where COCO and COCO-Stuff are downloaded from."""

from sg2im_pyg.system.fetch import RemoteFile

# Over https COCO's own host shows a certificate for another name; the bucket behind it does not.
_COCO_HOSTS = ("http://images.cocodataset.org", "https://s3.amazonaws.com/images.cocodataset.org")
_COCO_MIRROR = "https://s3.amazonaws.com/fast-ai-coco"


def _coco_addresses(kind: str, name: str) -> tuple[str, ...]:
    return (*(f"{host}/{kind}/{name}" for host in _COCO_HOSTS), f"{_COCO_MIRROR}/{name}")


COCO = (
    RemoteFile(
        "annotations_trainval2017.zip",
        _coco_addresses("annotations", "annotations_trainval2017.zip"),
        size=252_907_541,
        sha256="113a836d90195ee1f884e704da6304dfaaecff1f023f49b6ca93c4aaae470268",
        members=("annotations/instances_train2017.json", "annotations/instances_val2017.json"),
        unpacked_size=490_000_000,
    ),
    RemoteFile(
        "val2017.zip",
        _coco_addresses("zips", "val2017.zip"),
        size=815_585_330,
        sha256="4f7e2ccb2866ec5041993c9cf2a952bbed69647b115d0f74da7ce8f4bef82f05",
        members=("val2017/",),
        into="images",
    ),
    RemoteFile(
        "train2017.zip",
        _coco_addresses("zips", "train2017.zip"),
        size=19_336_861_798,
        sha256="69a8bb58ea5f8f99d24875f21416de2e9ded3178e903f1f7603e283b9e06d929",
        members=("train2017/",),
        into="images",
    ),
)
"""COCO 2017 without stuff."""


COCO_STUFF = RemoteFile(
    "stuff_annotations_trainval2017.zip",
    _coco_addresses("annotations", "stuff_annotations_trainval2017.zip"),
    size=1_148_688_564,
    members=("annotations/stuff_train2017.json", "annotations/stuff_val2017.json"),
    unpacked_size=900_000_000,
)
"""COCO-Stuff (the pictures of pixel labels in the archive are not used)."""
