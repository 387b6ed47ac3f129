"""Where Visual Genome is downloaded from."""

from sg2im_pyg.system.fetch import RemoteFile

# The first is where the data moved in 2023, the second is where the release fetched it.
_VISUAL_GENOME_HOSTS = (
    "https://homes.cs.washington.edu/~ranjay/visualgenome/data/dataset",
    "https://visualgenome.org/static/data/dataset",
)


# The second is a copy by somebody else: the size and the zip's own checksums must do.
_VISUAL_GENOME_PICTURES = (
    "https://cs.stanford.edu/people/rak248/VG_100K_2",
    "https://huggingface.co/datasets/BoyangZ/VisualGenome_VG_100K_1_and_2/resolve/main",
)


def _annotations(
    name: str, size: int, sha256: str | None = None, unpacked_size: int | None = None
) -> RemoteFile:
    addresses = tuple(f"{host}/{name}" for host in _VISUAL_GENOME_HOSTS)
    members = (name.removesuffix(".zip"),) if name.endswith(".zip") else ()
    return RemoteFile(name, addresses, size, sha256, members, unpacked_size=unpacked_size)


def _pictures(name: str, size: int, folder: str) -> RemoteFile:
    addresses = tuple(f"{host}/{name}" for host in _VISUAL_GENOME_PICTURES)
    return RemoteFile(name, addresses, size, members=(folder,), into="images")


VISUAL_GENOME = (
    _annotations(
        "object_alias.txt",
        60_166,
        "0c8e059fc31eeebfd98231f5789892da8ae33bfa00434c70aee969dc6eaa853b",
    ),
    _annotations(
        "relationship_alias.txt",
        122_102,
        "15f7f64802c95c5bf5b5690457566b1b19ee64eac7a94d8b8cbb3a4378f2ec7c",
    ),
    RemoteFile(
        "vg_splits.json",
        ("https://raw.githubusercontent.com/google/sg2im/master/sg2im/data/vg_splits.json",),
        optional=True,
    ),
    _annotations(
        "image_data.json.zip",
        1_780_854,
        "b87a94918cb2ff4d952cf1dfeca0b9cf6cd6fd204c2f8704645653be1163681a",
        unpacked_size=20_000_000,
    ),
    _annotations("objects.json.zip", 55_323_929, unpacked_size=435_000_000),
    _annotations("attributes.json.zip", 83_280_561, unpacked_size=485_000_000),
    _annotations(
        "relationships.json.zip",
        77_904_473,
        "e648867b8087e4aeb10019a959f914e2580909f1c3e50a21b25de8741679182f",
        unpacked_size=745_000_000,
    ),
    _pictures("images2.zip", 5_471_658_058, "VG_100K_2/"),
    _pictures("images.zip", 9_731_705_982, "VG_100K/"),
)
"""Visual Genome 1.4, its pictures, and the splits of the release."""
