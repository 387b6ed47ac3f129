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


def _visual_genome(
    name: str,
    size: int | None,
    sha256: str | None = None,
    *,
    members: tuple[str, ...] = (),
    into: str = ".",
    unpacked_size: int | None = None,
) -> RemoteFile:
    hosts = _VISUAL_GENOME_PICTURES if into == "images" else _VISUAL_GENOME_HOSTS
    addresses = tuple(f"{host}/{name}" for host in hosts)
    return RemoteFile(name, addresses, size, sha256, members, into, unpacked_size)


VISUAL_GENOME = (
    _visual_genome(
        "object_alias.txt",
        60_166,
        "0c8e059fc31eeebfd98231f5789892da8ae33bfa00434c70aee969dc6eaa853b",
    ),
    _visual_genome(
        "relationship_alias.txt",
        122_102,
        "15f7f64802c95c5bf5b5690457566b1b19ee64eac7a94d8b8cbb3a4378f2ec7c",
    ),
    RemoteFile(
        "vg_splits.json",
        ("https://raw.githubusercontent.com/google/sg2im/master/sg2im/data/vg_splits.json",),
        optional=True,
    ),
    _visual_genome(
        "image_data.json.zip",
        1_780_854,
        "b87a94918cb2ff4d952cf1dfeca0b9cf6cd6fd204c2f8704645653be1163681a",
        members=("image_data.json",),
        unpacked_size=20_000_000,
    ),
    _visual_genome(
        "objects.json.zip", 55_323_929, members=("objects.json",), unpacked_size=435_000_000
    ),
    _visual_genome(
        "attributes.json.zip", 83_280_561, members=("attributes.json",), unpacked_size=485_000_000
    ),
    _visual_genome(
        "relationships.json.zip",
        77_904_473,
        "e648867b8087e4aeb10019a959f914e2580909f1c3e50a21b25de8741679182f",
        members=("relationships.json",),
        unpacked_size=745_000_000,
    ),
    _visual_genome("images2.zip", 5_471_658_058, members=("VG_100K_2/",), into="images"),
    _visual_genome("images.zip", 9_731_705_982, members=("VG_100K/",), into="images"),
)
"""Visual Genome 1.4, its pictures, and the splits of the release."""
