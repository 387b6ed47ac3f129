"""Names, their indices, and the answer to an unknown one."""

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sg2im_pyg import Sg2ImError, Vocabulary

NAMES = st.lists(
    st.text(min_size=1).filter(lambda name: name not in ("__image__", "NONE")), unique=True
)


@given(NAMES)
def test_the_special_names_come_first_and_the_others_keep_their_order(names):
    vocabulary = Vocabulary(names, ["above"])
    assert vocabulary.objects == ("__image__", *names)
    assert vocabulary.predicates == ("__in_image__", "above")
    assert [vocabulary.object_index(name) for name in names] == list(range(1, len(names) + 1))
    assert Vocabulary.from_dict(vocabulary.to_dict()) == vocabulary


def test_special_names_that_are_there_are_not_put_in_front_again():
    vocabulary = Vocabulary(["__image__", "sky"], ("__in_image__",))
    assert vocabulary.objects == ("__image__", "sky")
    assert vocabulary.object_index("__image__") == vocabulary.predicate_index("__in_image__") == 0
    assert Vocabulary([], []).objects == ("__image__",)


def test_indices_without_a_category_are_kept_and_not_found():
    vocabulary = Vocabulary(["sky", "NONE", "NONE", "sea"], ["above"])
    assert vocabulary.object_index("sea") == 4
    with pytest.raises(Sg2ImError, match="The object 'NONE' is not in the vocabulary"):
        vocabulary.object_index("NONE")


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("sheeep", "did you mean 'sheep'?"),
        ("Sheep", "did you mean 'sheep'?"),
        ("gras", "did you mean 'grass'"),
        ("aeroplane", "the known names are: sky, grass, sheep."),
        ("", "the known names are: sky, grass, sheep."),
        (3, "the known names are: sky, grass, sheep."),
        (None, "the known names are"),
        (["sky"], "did you mean 'sky'?"),
    ],
)
def test_an_unknown_name_raises_with_the_nearest_known_ones(name, hint):
    vocabulary = Vocabulary(["sky", "grass", "sheep"], ["above", "below"])
    with pytest.raises(Sg2ImError) as error:
        vocabulary.object_index(name)
    assert str(error.value).startswith(f"The object {name!r} is not in the vocabulary; ")
    assert hint in str(error.value) and "__image__" not in str(error.value)


def test_the_nearest_name_stands_first_and_long_lists_are_cut():
    vocabulary = Vocabulary([f"thing {i}" for i in range(50)], ["above", "below", "left of"])
    with pytest.raises(Sg2ImError, match="did you mean 'above'"):
        vocabulary.predicate_index("abov")
    with pytest.raises(Sg2ImError, match=r"The predicate 'on'.*: above, below, left of\."):
        vocabulary.predicate_index("on")
    with pytest.raises(Sg2ImError, match=r"thing 0, thing 1, .*, thing 11, \.\.\.\.$"):
        vocabulary.object_index("qqq")
    with pytest.raises(Sg2ImError, match="did you mean 'thing 7' or"):
        vocabulary.object_index("Thing 7")


@pytest.mark.parametrize(
    ("objects", "sentence"),
    [
        (["sky", "sky"], "The object 'sky' stands twice"),
        (["sky", "__image__"], "'__image__' stands twice.*at index 0"),
        (["sky", ""], "non-empty string, got ''"),
        (["sky", 3], "non-empty string, got 3"),
        ([None], "non-empty string, got None"),
    ],
)
def test_wrong_names_raise(objects, sentence):
    with pytest.raises(Sg2ImError, match=sentence):
        Vocabulary(objects, [])


@pytest.mark.parametrize(
    "entries",
    [{}, {"objects": ["sky"]}, {"objects": "sky", "predicates": []}, None, [], "objects"],
)
def test_entries_without_both_lists_raise(entries):
    with pytest.raises(Sg2ImError, match="needs the two lists 'objects' and 'predicates'"):
        Vocabulary.from_dict(entries)


def test_equality_hash_pickle_and_repr():
    vocabulary = Vocabulary(["sky"], ["above"])
    assert vocabulary == Vocabulary(["__image__", "sky"], ["above"])
    assert hash(vocabulary) == hash(Vocabulary(["sky"], ["above"]))
    assert vocabulary != Vocabulary(["sky"], ["below"]) and vocabulary != "sky"
    assert pickle.loads(pickle.dumps(vocabulary)) == vocabulary
    assert repr(vocabulary) == "Vocabulary(objects=2, predicates=2)"


def test_attributes_are_a_list_of_their_own():
    vocabulary = Vocabulary(["sky"], ["above"], ["red", "tall", "wet"])
    assert vocabulary.attributes == ("red", "tall", "wet")  # index 0 is a name as any other
    assert [vocabulary.attribute_index(name) for name in vocabulary.attributes] == [0, 1, 2]
    with pytest.raises(Sg2ImError, match="The attribute 'tal' is not .*did you mean 'tall'"):
        vocabulary.attribute_index("tal")
    with pytest.raises(Sg2ImError, match=r"The attribute 'red' stands twice .* stand once\."):
        Vocabulary([], [], ["red", "red"])
    assert repr(vocabulary) == "Vocabulary(objects=2, predicates=2, attributes=3)"
    assert vocabulary != Vocabulary(["sky"], ["above"])
    assert Vocabulary.from_dict(vocabulary.to_dict()) == vocabulary
    # Files of programs that know no attributes stay as they are.
    without = {"objects": ["__image__", "sky"], "predicates": ["__in_image__", "above"]}
    assert Vocabulary(["sky"], ["above"]).to_dict() == without
    assert vocabulary.to_dict() == {**without, "attributes": ["red", "tall", "wet"]}
    with pytest.raises(Sg2ImError, match="'attributes' of a vocabulary must be a list"):
        Vocabulary.from_dict({**without, "attributes": "red"})
