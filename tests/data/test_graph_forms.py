"""Scene graphs in JSON as others write them: names, dicts, ids."""

import pytest

from sg2im_pyg import SceneGraph, Sg2ImError, Vocabulary

NAMES = ["sky", "grass", "sheep", "boat"]
VOCABULARY = Vocabulary(NAMES, ["above", "inside", "left of"])
DESCRIBED = Vocabulary(NAMES, ["above"], ["red", "large"])
MEADOW = {"objects": ["sky", "grass"], "relationships": [[0, "above", 1]]}


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ({"objects": ["Sky", "GRASS"], "relationships": [["sky", "Above", "grass"]]}, MEADOW),
        ({"relationships": [["sky", "above", "grass"]]}, MEADOW),
        ({"triples": [["sky", "above", "grass"]]}, MEADOW),
        (
            {
                "objects": ["boat", "boat"],
                "relationships": [["boat 2", "to the left of", "boat 1"]],
            },
            {"objects": ["boat", "boat"], "relationships": [[1, "left of", 0]]},
        ),
        (
            {"relationships": [["boat 2", "above", "sky"], ["boat 1", "above", "boat 2"]]},
            {
                "objects": ["boat", "sky", "boat"],
                "relationships": [[0, "above", 1], [2, "above", 0]],
            },
        ),
        (  # Visual Genome's scene graphs, and its relationships alone
            {
                "image_id": 5,
                "objects": [
                    {
                        "object_id": 11,
                        "names": ["firmament", "sky"],
                        "x": 1,
                        "y": 2,
                        "w": 3,
                        "h": 4,
                    },
                    {"object_id": 12, "names": ["grass"], "synsets": ["grass.n.01"]},
                ],
                "relationships": [{"predicate": "above", "subject_id": 11, "object_id": 12}],
            },
            MEADOW,
        ),
        (
            {
                "image_id": 5,
                "relationships": [
                    {
                        "relationship_id": 3,
                        "predicate": "ABOVE",
                        "subject": {"object_id": 1, "name": "sky"},
                        "object": {"object_id": 2, "names": ["grass"], "h": 3},
                    }
                ],
            },
            MEADOW,
        ),
        (  # GQA
            {
                "width": 640,
                "height": 480,
                "objects": {
                    "7": {
                        "name": "sky",
                        "x": 1,
                        "attributes": [],
                        "relations": [{"object": "8", "name": "above"}],
                    },
                    "8": {"name": "grass", "relations": []},
                },
            },
            MEADOW,
        ),
        (
            {
                "nodes": [{"id": "n1", "label": "sky"}, {"id": "n2", "label": "grass"}],
                "edges": [{"source": "n1", "target": "n2", "label": "above"}],
            },
            MEADOW,
        ),
        (
            {"objects": [{"name": "sky", "seed": 0}, "boat"]},
            {"objects": ["sky", "boat"], "seeds": [0, None], "relationships": []},
        ),
    ],
)
def test_forms_that_mean_the_same(entries, expected):
    assert SceneGraph.from_json(entries, VOCABULARY).to_json(VOCABULARY) == expected


def test_attributes_of_objects_that_are_dicts():
    entries = {"objects": ["sky", {"name": "boat", "attributes": ["Red"]}]}
    graph = SceneGraph.from_json(entries, DESCRIBED)
    assert graph.to_json(DESCRIBED)["attributes"] == [[], ["red"]]
    with pytest.raises(Sg2ImError, match="the vocabulary has no attributes"):
        SceneGraph.from_json(entries, VOCABULARY)


@pytest.mark.parametrize(
    ("entries", "sentence"),
    [
        (
            {"objects": ["boat", "boat", "sky"], "relationships": [["sky", "above", "boat"]]},
            "'boat' stands for 2 objects; give a position, or a number as in 'boat 1'",
        ),
        (
            {"objects": ["sky"], "relationships": [["sky", "above", "grass"]]},
            "the position or the name of one of the 1 objects, 0 to 0, got 'grass'",
        ),
        (
            {"objects": ["zebra", "sky"], "relationships": [[0, "upon", 1], [0, "abve", 1]]},
            r"3 names are not .*'zebra' \(.*predicate 'upon' \(.* predicate 'abve' \(did you",
        ),
        ({"objects": [{"name": "boat", "colour": "red"}]}, "Object 0 has the entry 'colour'"),
        ({"objects": [{}]}, "must be|no 'name'"),
        ({"objects": [{"id": 1, "name": "sky"}, {"id": 1, "name": "sky"}]}, "Object 1: its id 1"),
        (
            {
                "objects": [{"id": 1, "name": "sky"}],
                "relationships": [{"subject": 1, "predicate": "above", "object": 9}],
            },
            "no object has the id 9",
        ),
        (
            {"objects": ["sky"], "relationships": [{"subject": 0, "verb": "above", "object": 0}]},
            "'subject', 'predicate' and 'object', not 'verb'",
        ),
        (
            {"objects": [{"name": "sky", "seed": 1}], "seeds": [1]},
            "'seeds' and objects with 'seed': give one",
        ),
        (
            {"objects": {"1": {"name": "sky", "relations": ["x"]}}},
            "'relations' of object 0 must be a list of dicts",
        ),
    ],
)
def test_what_is_wrong_is_told(entries, sentence):
    with pytest.raises(Sg2ImError, match=sentence):
        SceneGraph.from_json(entries, VOCABULARY)
