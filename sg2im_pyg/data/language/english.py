"""What the reader and the writer of scene graphs know of English: numbers, plurals, articles, verbs
that only say that something is there, and small tables of words that mean the same."""

import re

ARTICLES = {"a", "an", "the"}
NUMBERS = {
    word: number
    for number, word in enumerate(
        "one two three four five six seven eight nine ten eleven twelve".split(), 1
    )
}
ORDINALS = {
    word: number
    for number, word in enumerate(
        "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth".split(),
        1,
    )
}
COPULAS = {"is", "are", "stands", "stand", "sits", "sit", "lies", "lie", "floats", "float"}
"""Verbs before a predicate that add nothing to it. Where a predicate of the vocabulary is one of
them ("standing on"), its forms are read as that predicate."""
RELATIVES = {"that", "which", "who"}
PRONOUNS = {"it", "they", "them", "itself", "themselves"}

GEOMETRIC_PHRASES: dict[str, tuple[str, ...]] = {
    "left of": ("to the left of", "on the left of", "at the left of", "on the left side of"),
    "right of": ("to the right of", "on the right of", "at the right of", "on the right side of"),
    "above": ("over",),
    "below": ("under", "beneath", "underneath"),
    "inside": ("in", "within", "inside of", "surrounded by"),
    "surrounding": ("around", "surrounds", "enclosing", "encloses"),
}
"""What else is said for a predicate, where the vocabulary does not have it as one of its own."""

SIDES = {"left of": "left", "right of": "right"}
"""Predicates of which one says "to its left"."""

MAY_MEAN: dict[str, tuple[str, ...]] = {
    "on": ("above", "inside"),
    "on top of": ("above", "inside"),
    "near": ("left of", "right of", "above", "below"),
    "next to": ("left of", "right of"),
    "beside": ("left of", "right of"),
    "by": ("left of", "right of"),
    "behind": ("above", "surrounding"),
    "in front of": ("below", "inside"),
}
"""What is not read as one of the geometric predicates, because it may be several."""

SYNONYMS: tuple[tuple[str, ...], ...] = (
    ("person", "man", "woman", "boy", "girl", "child", "human"),
    ("water", "sea", "ocean", "lake", "river"),
    ("house", "building", "home", "cottage"),
    ("boat", "ship", "sailboat"),
    ("car", "automobile"),
    ("road", "street"),
    ("grass", "meadow", "lawn"),
    ("sand", "beach"),
    ("mountain", "hill"),
    ("balloon", "hot-air balloon", "hot air balloon"),
    ("sheep", "lamb", "ewe"),
    ("airplane", "plane", "aeroplane", "aircraft"),
    ("bicycle", "bike"),
    ("motorcycle", "motorbike"),
    ("couch", "sofa"),
    ("tv", "television"),
    ("cell phone", "mobile phone", "phone"),
    ("refrigerator", "fridge"),
    ("dog", "puppy"),
    ("cat", "kitten"),
)
"""Groups of names; one that the vocabulary lacks stands for the only one of its group that the
vocabulary has."""

_PLURALS = {
    "sheep": "sheep",
    "person": "people",
    "man": "men",
    "woman": "women",
    "child": "children",
    "foot": "feet",
    "tooth": "teeth",
    "mouse": "mice",
    "goose": "geese",
    "leaf": "leaves",
    "shelf": "shelves",
    "knife": "knives",
    "loaf": "loaves",
    "calf": "calves",
    "wolf": "wolves",
    "fish": "fish",
    "deer": "deer",
    "aircraft": "aircraft",
    "skis": "skis",
    "scissors": "scissors",
    "clothes": "clothes",
}

# Of these there is one in a picture, or so much: "the sky", "the water".
_DEFINITE = set(
    "sky sun moon ground floor ceiling grass water sea ocean sand snow mud dirt gravel fog earth "
    "air horizon background hair food fruit wood metal plastic paper cardboard furniture clothes "
    "cloth ice smoke pavement straw moss foliage".split()
)
_BACKGROUND = _DEFINITE | set(
    "road street mountain hill river beach field wall playingfield".split()
)
# Words that begin with a vowel's letter but no vowel, or the other way round.
_LIKE_CONSONANT = re.compile(r"(?i:uni(?!n)|us[ae]|ut[ei]|ur[aio]n|eu|ewe|one\b|once|u\b)")
_LIKE_VOWEL = re.compile(r"(?i:hour|honest|heir|honou?r)")


def plural(name: str) -> str:
    """The plural of a name, of its last word.

    Examples:
        >>> plural("boat"), plural("bus"), plural("person"), plural("hot dog"), plural("berry")
        ('boats', 'buses', 'people', 'hot dogs', 'berries')
    """
    before, word = re.fullmatch(r"(.*?)([^\s-]*)", name, re.DOTALL).groups()  # type: ignore[union-attr]
    known = _PLURALS.get(word.lower())
    if known is not None:
        return before + known
    if re.search(r"(s|x|z|ch|sh)$", word, re.IGNORECASE):
        return f"{name}es"
    if re.search(r"[^aeiou]y$", word, re.IGNORECASE):
        return f"{name[:-1]}ies"
    return f"{name}s"


def is_plural(name: str) -> bool:
    """Whether a name is that of several things, as "clouds" or "people": it takes no "a"."""
    word = re.split(r"[\s-]", name.lower())[-1]
    if word in _PLURALS.values():
        return _PLURALS.get(word, "") != word or word in ("skis", "scissors", "clothes")
    return re.search(r"[^suia]s$", word) is not None and word not in ("lens", "news")


def takes_the(name: str) -> bool:
    """Whether one says "the" of a name at once, as of the sky."""
    return name.lower() in _DEFINITE


def is_background(name: str) -> bool:
    """Whether a name is that of what lies around things, rather than of a thing."""
    return name.lower() in _BACKGROUND


def article(words: str) -> str:
    """The article of words, "a" or "an".

    Examples:
        >>> article("boat"), article("umbrella"), article("uniform"), article("orange")
        ('a', 'an', 'a', 'an')
    """
    if _LIKE_VOWEL.match(words):
        return "an"
    return "an" if words[:1].lower() in "aeiou" and not _LIKE_CONSONANT.match(words) else "a"


def verb_forms(predicate: str) -> tuple[str, ...]:
    """Other forms of a predicate that begins with a verb: "rides" and "ride" for "riding". Where
    the spelling may be one of several, all are given.

    Examples:
        >>> verb_forms("sitting on")
        ('sitts on', 'sitt on', 'sittes on', 'sitte on', 'sits on', 'sit on')
        >>> verb_forms("above")
        ()
    """
    word, _, rest = predicate.partition(" ")
    stem = word[:-3]
    if not word.endswith("ing") or len(stem) < 3 or not re.search("[aeiouy]", stem):
        return ()
    bases = [stem, f"{stem}e"]
    if stem[-1] == stem[-2]:
        bases.append(stem[:-1])
    forms = []
    for base in bases:
        ending = re.sub(r"(?<=[^aeiou])y$", "ie", base)
        forms += [f"{ending}s", base]
    forms += [f"{base}es" for base in bases if re.search("(s|x|ch|sh)$", base)]
    return tuple(f"{form} {rest}".rstrip() for form in forms)
