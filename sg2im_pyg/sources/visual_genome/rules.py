"""The release's rules over Visual Genome's columns: which names, objects and pictures remain."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sg2im_pyg.data.scene_table import SceneTable, offsets, ragged_rows
from sg2im_pyg.data.vocabulary import Vocabulary
from sg2im_pyg.sources.annotations import Annotations
from sg2im_pyg.sources.visual_genome.raw_files import (
    Attributes,
    ListedImages,
    Objects,
    Relationships,
)
from sg2im_pyg.sources.visual_genome.selection import VisualGenomeSelection


@dataclass(frozen=True)
class VisualGenomeColumns:
    """The whole of Visual Genome, and the pictures of each split in their order.

    Attributes:
        images: The picture list.
        objects: All objects.
        attributes: All attributes.
        relationships: All relationships.
        predicate_aliases: The name to use for a predicate.
        splits: Numbers of the pictures of each split.
    """

    images: ListedImages
    objects: Objects
    attributes: Attributes
    relationships: Relationships
    predicate_aliases: dict[str, str]
    splits: dict[str, np.ndarray]

    def convert(
        self, selection: VisualGenomeSelection, vocabulary: Vocabulary | None
    ) -> dict[str, Annotations]:
        """Applies the rules.

        Args:
            selection: Their thresholds.
            vocabulary: The names to use; :obj:`None` to count them in the training split.
        """
        is_large = self.images.sizes.min(axis=1, initial=2**31 - 1) >= selection.min_image_side
        large = self.images.ids[is_large]
        splits = {split: ids[np.isin(ids, large)] for split, ids in self.splits.items()}
        train = splits["train"]

        if vocabulary is None:
            in_train = np.isin(self.objects.images, train)
            of_train = self.objects.names[np.repeat(in_train, np.diff(self.objects.name_offset))]
            names = frequent_names(
                of_train, self.objects.known_names, selection.min_object_instances
            )
        else:
            names = list(vocabulary.objects[1:])
        ids, rows, categories = self._used_objects(
            selection, names, np.concatenate([*splits.values()])
        )
        predicates, predicate_names = self._predicates(selection, train, ids)
        if vocabulary is None:
            between = predicates[self._between_used(train, ids)]
            in_train = self._attributes_of_train(train)
            least = selection.min_relationship_instances
            least_attributes = selection.min_attribute_instances
            vocabulary = Vocabulary(
                names,
                frequent_names(between, predicate_names, least, by_count=False),
                frequent_names(in_train, self.attributes.known_names, least_attributes),
            )
        attributes = self._attributes_of(ids, vocabulary.attributes)
        predicates = _indices(predicate_names, vocabulary.predicates[1:])[predicates] + 1
        used = _UsedObjects(ids, categories, self.objects.boxes[rows], *attributes)
        found = {}
        for split, image_ids in splits.items():
            small = len(self.splits[split]) - len(image_ids)
            reasons = {f"a side under {selection.min_image_side} pixels": small} if small else {}
            table = self._table(image_ids, used, predicates)
            table, left_out = select_pictures(table, selection)
            listed = positions(self.images.ids, table.image_ids)
            # As in the release they stay; there is nothing to be seen of them.
            outside = int((table.boxes[:, :2] >= table.boxes[:, 2:]).any(1).sum())
            found[split] = Annotations(
                table,
                vocabulary,
                0,
                [self.images.files[i] for i in listed],
                self.images.sizes[listed],
                skipped=reasons | left_out,
                notes={"boxes wholly outside of their picture": outside} if outside else {},
            )
        return found

    def _used_objects(
        self, selection: VisualGenomeSelection, names: Sequence[str], image_ids: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Numbers of the objects used, rising; of each its row and its category.

        As in the release, an object is known by its number alone: of several with one number,
        the last that fits stands for all.
        """
        objects = self.objects
        name_indices = _indices(objects.known_names, names)[objects.names]
        owners = np.repeat(np.arange(len(objects.ids)), np.diff(objects.name_offset))
        fitting = np.flatnonzero(name_indices >= 0)
        first_owner, first = np.unique(owners[fitting], return_index=True)
        categories = np.full(len(objects.ids), -1)
        categories[first_owner] = name_indices[fitting[first]]
        is_used = (
            (categories >= 0)
            & (objects.boxes[:, 2:] >= selection.min_object_side).all(1)
            & np.isin(objects.images, image_ids)
        )
        backwards = np.flatnonzero(is_used)[::-1]
        ids, last = np.unique(objects.ids[backwards], return_index=True)
        rows = backwards[last]
        return ids, rows, categories[rows] + 1

    def _between_used(self, train: np.ndarray, ids: np.ndarray) -> np.ndarray:
        """Which relationships lie in a picture of the training split, between objects used."""
        relationships = self.relationships
        return (
            np.isin(relationships.images, train)
            & np.isin(relationships.subjects, ids)
            & np.isin(relationships.objects, ids)
        )

    def _predicates(
        self, selection: VisualGenomeSelection, train: np.ndarray, ids: np.ndarray
    ) -> tuple[np.ndarray, list[str]]:
        """Predicate of each relationship, rewritten where it is to be, and all the names."""
        known = {name: i for i, name in enumerate(self.relationships.known_predicates)}
        rewritten = np.empty(len(known), np.int64)
        for i, name in enumerate(list(known)):
            name = name.lower().strip()
            rewritten[i] = known.setdefault(self.predicate_aliases.get(name, name), len(known))
        as_written = self.relationships.predicates
        where: np.ndarray | bool = True
        if selection.predicates == "as-released":
            where = self._between_used(train, ids)
        return np.where(where, rewritten[as_written], as_written), list(known)

    def _attributes_of(
        self, ids: np.ndarray, attribute_names: Sequence[str]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Attributes of the objects used, as often as they are listed, with their offsets."""
        place = positions(ids, self.attributes.objects)
        index = _indices(self.attributes.known_names, attribute_names)[self.attributes.names]
        fitting = np.flatnonzero((place >= 0) & (index >= 0))
        fitting = fitting[np.argsort(place[fitting], kind="stable")]
        counts = np.bincount(place[fitting], minlength=len(ids))
        return offsets(counts), index[fitting].astype(np.int32)

    def _attributes_of_train(self, train: np.ndarray) -> np.ndarray:
        """Attributes of the training split, each once an entry."""
        attributes = self.attributes
        of_train = np.flatnonzero(np.isin(attributes.images, train))
        pairs = attributes.entries * len(attributes.known_names) + attributes.names
        first = np.sort(np.unique(pairs[of_train], return_index=True)[1])
        return attributes.names[of_train[first]]

    def _table(
        self, image_ids: np.ndarray, used: "_UsedObjects", predicates: np.ndarray
    ) -> SceneTable:
        """Objects and relationships used of some pictures, before pictures are left out."""
        objects, relationships = self.objects, self.relationships
        picture = positions(image_ids, objects.images)
        place = positions(used.ids, objects.ids)
        members = np.flatnonzero((picture >= 0) & (place >= 0))
        members = members[np.argsort(picture[members], kind="stable")]
        picture, place = picture[members], place[members]
        object_offset = offsets(np.bincount(picture, minlength=len(image_ids)))

        # Ends of relationships are looked up by picture and object; of two entries of one object
        # the last counts.
        keys = picture * len(used.ids) + place
        by_key = np.argsort(keys, kind="stable")
        local = np.arange(len(members)) - object_offset[picture]
        picture_of = positions(image_ids, relationships.images)
        ends = []
        for numbers in (relationships.subjects, relationships.objects):
            end = positions(used.ids, numbers)
            wanted = np.where((picture_of >= 0) & (end >= 0), picture_of * len(used.ids) + end, -1)
            # In front stands an entry that nothing is found at: there may be no members.
            last = np.searchsorted(keys[by_key], wanted, "right")
            is_found = np.concatenate([[-2], keys[by_key]])[last] == wanted
            ends.append(np.where(is_found, np.concatenate([[-1], local[by_key]])[last], -1))
        kept = np.flatnonzero((predicates > 0) & (ends[0] >= 0) & (ends[1] >= 0))
        kept = kept[np.argsort(picture_of[kept], kind="stable")]

        size = self.images.sizes[positions(self.images.ids, image_ids)][:, ::-1].astype(np.float64)
        x0y0, wh = np.split(used.boxes[place].astype(np.float64), 2, axis=1)
        scale = size[picture]
        boxes = np.concatenate([x0y0 / scale, (x0y0 + wh) / scale], 1).clip(0, 1)
        attribute_rows, attribute_offset = ragged_rows(used.attribute_offset, place)
        return SceneTable(
            image_ids=image_ids,
            object_offset=object_offset,
            categories=used.categories[place].astype(np.int32),
            boxes=boxes.astype(np.float32),
            packed_masks=None,
            relationship_offset=offsets(np.bincount(picture_of[kept], minlength=len(image_ids))),
            relationships=np.stack([ends[0][kept], predicates[kept], ends[1][kept]], 1).astype(
                np.int32
            ),
            attribute_offset=attribute_offset,
            attributes=used.attributes[attribute_rows],
            object_ids=used.ids[place],
        )


@dataclass(frozen=True)
class _UsedObjects:
    """The objects used, by rising number; boxes as left, top, width, height in pixels."""

    ids: np.ndarray
    categories: np.ndarray
    boxes: np.ndarray
    attribute_offset: np.ndarray
    attributes: np.ndarray


def select_pictures(
    table: SceneTable, selection: VisualGenomeSelection
) -> tuple[SceneTable, dict[str, int]]:
    """Leaves out pictures with too few or too many objects or relationships, and counts them."""
    remaining = np.ones(len(table), bool)
    left_out = {}
    for what, offset in (
        ("objects", table.object_offset),
        ("relationships", table.relationship_offset),
    ):
        counts = np.diff(offset)
        low, high = getattr(selection, f"min_{what}"), getattr(selection, f"max_{what}")
        for unfit, reason in (
            (counts < low, f"fewer than {low} {what}"),
            (counts > high, f"more than {high} {what}"),
        ):
            if count := np.count_nonzero(remaining & unfit):
                left_out[reason] = int(count)
            remaining &= ~unfit
    return table.select(np.flatnonzero(remaining)), left_out


def frequent_names(
    found: np.ndarray, known: Sequence[str], least: int, by_count: bool = True
) -> list[str]:
    """Names that were found often enough.

    Args:
        found: Positions in :obj:`known`, one for each time that a name was found.
        known: All names.
        least: How often a name must have been found.
        by_count: Most frequent first, of equals the first to appear; otherwise in the order of
            first appearance.
    """
    values, first, counts = np.unique(found, return_index=True, return_counts=True)
    enough = counts >= max(least, 1)
    values, first, counts = values[enough], first[enough], counts[enough]
    order = np.lexsort((first, -counts)) if by_count else np.argsort(first)
    # A name without a letter can not be asked for, and the special ones are not from the data.
    return [known[i] for i in values[order] if known[i] and not known[i].startswith("__")]


def positions(values: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """Position of each query among values that are all different, -1 where it is not."""
    if not len(values):
        return np.full(len(queries), -1)
    order = np.argsort(values, kind="stable")
    place = np.minimum(np.searchsorted(values, queries, sorter=order), len(values) - 1)
    return np.where(values[order[place]] == queries, order[place], -1)


def _indices(known: Sequence[str], names: Sequence[str]) -> np.ndarray:
    """Position of each known name in the names to use, -1 where it is not one."""
    index = {name: i for i, name in enumerate(names)}
    return np.array([index.get(name, -1) for name in known], np.int64)
