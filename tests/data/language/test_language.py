"""Graphs in words, both ways: what is written is read back, what is not understood is told."""

import re
import time
from collections import Counter

import networkx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sg2im_pyg import SceneGraph, Sg2ImError, Vocabulary
from sg2im_pyg.data.language.reader import MOST_CHARACTERS, read_text
from sg2im_pyg.sources.landscapes.source import landscape_vocabulary

LANDSCAPES = landscape_vocabulary()
DESCRIBED = Vocabulary(LANDSCAPES.objects, LANDSCAPES.predicates, ["red", "large", "orange"])
COCO = Vocabulary(
    ["sky-other", "wall-brick", "wall-other", "water-other", "sea", "person", "bus", "umbrella"],
    ["left of", "right of", "above", "below", "inside", "surrounding"],
)
GENOME = Vocabulary(
    "man horse hat table top orange tree trees light people".split() + ["street light"],
    ["on", "on top of", "on a", "with", "standing on", "has", "riding", "wearing", "of", "left of"],
    ["orange", "tall", "standing"],
)
ODD = Vocabulary(
    [
        "a",
        "and",
        "it",
        "boat 1",
        "x;y",
        'say "so"',
        "Sky",
        "sky",
        "two",
        "first",
        "on.",
        "traffic_",
    ],
    ["the", "is", "over; under", "left of", "to the left of", "next", "that", "Next"],
    ["red", "the end", "a,b"],
)


@st.composite
def graphs(draw, vocabulary, most=8):
    names = draw(st.lists(st.sampled_from(vocabulary.objects[1:]), min_size=1, max_size=most))
    index = st.integers(0, len(names) - 1)
    triple = st.tuples(index, st.sampled_from(vocabulary.predicates[1:]), index).map(list)
    entries = {"objects": names, "relationships": draw(st.lists(triple, max_size=10))}
    if vocabulary.attributes:
        own = st.lists(st.sampled_from(vocabulary.attributes), max_size=2, unique=True)
        entries["attributes"] = [draw(own) for _ in names]
    return entries


def as_network(entries):
    network = networkx.MultiDiGraph()
    attributes = entries.get("attributes") or [[]] * len(entries["objects"])
    for i, name in enumerate(entries["objects"]):
        network.add_node(i, told=(name, sorted(attributes[i])))
    for subject, predicate, obj in entries["relationships"]:
        network.add_edge(subject, obj, predicate=predicate)
    return network


def is_same_graph(one, other):
    """Whether objects can be matched so that all relationships match, by networkx."""

    def predicates(edges):
        return Counter(edge["predicate"] for edge in edges.values())

    return networkx.is_isomorphic(
        as_network(one),
        as_network(other),
        node_match=lambda a, b: a["told"] == b["told"],
        edge_match=lambda a, b: predicates(a) == predicates(b),
    )


@pytest.mark.parametrize("vocabulary", [LANDSCAPES, DESCRIBED, COCO, GENOME, ODD])
@settings(deadline=None, max_examples=25)
@given(st.data())
def test_what_is_written_is_read_back(vocabulary, data):
    graph = SceneGraph.from_json(data.draw(graphs(vocabulary)), vocabulary)
    entries = graph.to_json(vocabulary)
    notation, text = graph.to_notation(vocabulary), graph.to_text(vocabulary)
    # The notation keeps the order of objects and relationships, English the graph.
    assert SceneGraph.from_text(notation, vocabulary).to_json(vocabulary) == entries
    assert is_same_graph(SceneGraph.from_text(text, vocabulary).to_json(vocabulary), entries)
    assert graph.to_text(vocabulary) == text
    if vocabulary is not ODD:  # names need no quotation marks, but for "on" beside "on a"
        assert '"' not in notation and '"' not in text.replace('"on"', "")


@settings(deadline=None, max_examples=30)
@given(graphs(LANDSCAPES))
def test_each_object_is_introduced_once_and_each_relationship_told_once(entries):
    text = SceneGraph.from_json(entries, LANDSCAPES).to_text(LANDSCAPES)
    for name, count in Counter(entries["objects"]).items():
        if name in ("sky", "grass", "water", "sand", "sun", "moon"):
            continue  # "the" from the start
        first = r"a (first )?" if count > 1 else r"an? "
        assert len(re.findall(rf"\b{first}{name}\b", text)) == 1
    predicates = Counter(p for _, p, _ in entries["relationships"])
    for predicate, count in predicates.items():
        word = predicate.removesuffix(" of")
        told = len(re.findall(rf"\b{word}\b", text))
        assert 1 <= told <= count  # once for several objects: "above the sky and the sun"
    assert bool(predicates) or not re.search("left|right|above|below|inside|surr", text)


@pytest.mark.parametrize(
    ("notation", "text"),
    [
        ("sky above grass", "the sky above the grass"),
        (
            "sheep inside grass; tree left of sheep; sheep below sky",
            "a sheep inside the grass, below the sky, with a tree to its left",
        ),
        ("boat 1 inside water; boat 2 left of boat 1; sun", None),
        ("sheep left of sheep", "a sheep to the left of itself"),
        ("moon; cloud; car", "the moon, a cloud and a car"),
        ("tree right of house; tree right of car", "a tree to the right of a house and a car"),
    ],
)
def test_by_hand(notation, text):
    graph = SceneGraph.from_text(notation, LANDSCAPES)
    assert graph.to_notation(LANDSCAPES) == notation
    assert text is None or graph.to_text(LANDSCAPES) == text


@pytest.mark.parametrize(
    ("text", "notation"),
    [
        (
            "A sheep stands in the grass below the sky, and a boat is to the right of it",
            "sheep inside grass; grass below sky; boat right of sheep",
        ),
        (
            "sky above grass; two boats inside water",
            "sky above grass; boat 1 inside water; boat 2 inside water",
        ),
        ("SKY Above Grass!", "sky above grass"),
        ("a sheep, below the sky", "sheep below sky"),
        ("a sheep in the grass, below the sky", "sheep inside grass; sheep below sky"),
        (
            "Two boats are in the sea. They are left of a house; boat 2 over the road",
            "boat 1 inside water; boat 2 inside water; boat 1 left of house; "
            "boat 2 left of house; boat 2 above road",
        ),
        (
            "boat 2 inside water; boat 1 above sky",
            "boat 1; water; boat 2 inside water; boat 1 above sky",
        ),
        ("a man and a woman under a tree", "person 1 below tree; person 2 below tree"),
        ("A boat in water. Another boat in water.", "boat 1 inside water; boat 2 inside water"),
        ("boat in water; boat left of sun", "boat inside water; boat left of sun"),
        ("Below the sky there is the grass", "grass below sky"),
        ("A tree that is left of a house, over a road", "tree left of house; tree above road"),
        (
            "There is a balloon in the sky. It is left of the sun.",
            "balloon inside sky; balloon left of sun",
        ),
        ("both boats above sea; the boats", "boat 1 above water; boat 2 above water"),
        ('"boat" 1 "left of" “boat” 2', "boat 1 left of boat 2"),
    ],
)
def test_sentences(text, notation):
    assert SceneGraph.from_text(text, LANDSCAPES).to_notation(LANDSCAPES) == notation


@pytest.mark.parametrize(
    ("vocabulary", "text", "notation"),
    [
        (
            DESCRIBED,
            "A red boat is left of a large, red and orange car. The boat is in the water.",
            "red boat left of red large orange car; boat inside water",
        ),
        (DESCRIBED, "the boat is red; a boat", "red boat 1; boat 2"),
        (
            GENOME,
            "A man wears a hat and rides a tall horse",
            "man wearing hat; man riding tall horse",
        ),
        (GENOME, "an orange orange stands on a table", "orange orange standing on table"),
        (GENOME, "man with hat, with a tree riding it", "man with hat; tree riding man"),
        (GENOME, "top on top of table; light of street light", None),
        (COCO, "The sky is over the sea", "sky-other above sea"),
    ],
)
def test_other_vocabularies(vocabulary, text, notation):
    graph = SceneGraph.from_text(text, vocabulary)
    assert graph.to_notation(vocabulary) == (notation or text)


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("a zebra on the grass near a chair", ["'zebra'", "'on' (it may mean 'above' or 'inside'"]),
        ("a zebra on the grass near a chair", ["'near' (it may mean", "'chair' (did you mean"]),
        ("a red boat", ["'red' (no name, and the model knows no attributes"]),
        ("boats inside water", ["'boats' (say how many"]),
        ("two boats; the boat left of a house", ["it may be 'boat 1' or 'boat 2': say which"]),
        ("a sheep left of a tree, and a boat above it", ["'it' (it may be 'sheep' or 'tree'"]),
        ("it is above the sky", ["'it' (there is nothing before it that it could be"]),
        ("a tree, a house left of a car, a sun and a moon are below sky", ["write two clauses"]),
        ("a house with a tree", ["'with' (it needs a place"]),
        ("sky sky", ["'sky' (a predicate should stand here, in 'sky sky')"]),
        ("sky above; above sky; sky is", ["'above' (an object", "'above sky'", "after the verb"]),
        ("sky above grass,", ["nothing comes after it"]),
        ('"boat left of', ["a quotation mark without another one"]),
        ("", ["names no object: write for example"]),
        (" ;.; ", ["names no object"]),
        ("the three boats; the two boats", ["there are 3 of them"]),
        ("0 boats", ["does not go with the name"]),
        ("1001 boats", ["more than 1000 objects"]),
        ("200 boats left of 200 cars", ["more than 10000 relationships"]),
        ("zebra " * 20_000, ["has 120000 characters"]),
    ],
)
def test_what_is_not_understood_is_told(text, sentences):
    with pytest.raises(Sg2ImError) as error:
        SceneGraph.from_text(text, LANDSCAPES)
    assert all(sentence in str(error.value) for sentence in sentences), error.value
    assert "\n" not in str(error.value) and len(str(error.value)) < 1000


@pytest.mark.parametrize(
    "part",
    [
        '"', ";", ",", "and ", "a ", "two ", "boat ", "boat 1 ", "with a ", "with a boat above it ",
        "to its left ", "is ", "boat, ", "boat above ", "boat and ", "red ", "large, ", "in ",
        "999999 boats ", "x" * 7 + " ", "....x ", "that ", "above it, ", "\0 ", "\U0001f411 ",
    ],
)  # fmt: skip
def test_hostile_texts_end_soon(part):
    text = "boat " + part * (MOST_CHARACTERS // 4 // len(part))
    start = time.process_time()
    try:
        read_text(text, DESCRIBED)
    except Sg2ImError as error:
        assert len(str(error)) < 4000
    assert time.process_time() - start < 5


@settings(deadline=None, max_examples=80)
@given(st.lists(st.sampled_from(
    "a the two both it them boat boats sheep sky in above with and , ; . 1 2 red is that there "
    'first to its left "boat" " zebra on'.split()
)).map(" ".join))  # fmt: skip
def test_any_row_of_words_is_read_or_told(text):
    try:
        graph = SceneGraph.from_text(text, DESCRIBED)
    except Sg2ImError:
        return
    notation = graph.to_notation(DESCRIBED)
    assert SceneGraph.from_text(notation, DESCRIBED).to_json(DESCRIBED) == graph.to_json(DESCRIBED)


def test_graphs_too_large_for_words_are_told():
    graph = SceneGraph.from_json({"objects": ["sky"] * 1001}, LANDSCAPES)
    with pytest.raises(Sg2ImError, match="1001 objects .* write it as JSON"):
        graph.to_text(LANDSCAPES)
    hidden = Vocabulary(["x", "y"], ["x"], ["x"])
    graph = SceneGraph.from_json({"objects": ["x", "y"], "relationships": [[0, "x", 1]]}, hidden)
    try:
        notation = graph.to_notation(hidden)
    except Sg2ImError as error:
        assert "named like an object" in str(error)
    else:
        assert SceneGraph.from_text(notation, hidden).to_json(hidden) == graph.to_json(hidden)
