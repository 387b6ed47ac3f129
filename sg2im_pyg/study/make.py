"""Makes a study: draws scenes, gets the systems' pictures of them, and writes the questions."""

import re
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from sg2im_pyg.data import SceneGraph
from sg2im_pyg.errors import Sg2ImError
from sg2im_pyg.evaluation.split import Split
from sg2im_pyg.evaluation.systems import FolderSystem, open_systems
from sg2im_pyg.evaluation.text import clean, unused_name
from sg2im_pyg.study.captions import find_captions, read_captions
from sg2im_pyg.study.options import MakeOptions
from sg2im_pyg.study.pictures import (
    jumble,
    match_files,
    save_picture,
    system_pictures,
    true_picture,
)
from sg2im_pyg.study.plan import Content, numbered, plan_checks, plan_questions
from sg2im_pyg.study.questions import SHUFFLED, TRUE, Choice, Question, Study, shuffled, write_study
from sg2im_pyg.system.device import choose_device
from sg2im_pyg.system.files import temporary_path

_SUFFIXES = re.compile(r"(?<=\w)(-other|-merged|-stuff)+(?!\w)")
"""What COCO's names of stuff end in, which says nothing to a participant."""
_MOST_CONSENT = 100_000  # bytes
_IN_CHECK = 4  # right names in an attention check, and as many wrong ones


def make_study(options: MakeOptions, output: Path, command: str = "") -> Iterator[str]:
    """Makes a study.

    Args:
        options: All options.
        output: Folder to write, which must be missing or empty. It is there when the study is
            whole.
        command: The command line, kept in the study.

    Yields:
        Lines that say what was done.

    Raises:
        Sg2ImError: If a file is missing or does not fit the others.
    """
    consent = None if options.consent is None else _read_consent(Path(options.consent))
    config = options.evaluation()
    config.device = str(choose_device(options.device))
    split = Split(Path(options.data).absolute(), None, options.max_objects, options.seed)
    systems = open_systems(config, split)
    taken = {TRUE, SHUFFLED}
    names = [unused_name(clean(system.name)[:200] or "system", taken) for system in systems]

    # ---- Scenes, of which each system has a picture
    usable = set(range(split.pictures))
    files = {}
    for name, system in zip(names, systems, strict=True):
        if isinstance(system, FolderSystem):
            files[name], by_number = match_files(system, split)
            usable &= files[name].keys()
            missing = split.pictures - len(files[name])
            if missing:
                yield (
                    f"{name} has no picture of {missing:,} of the {split.pictures:,} scenes: they "
                    "are not asked about."
                )
            if not by_number:
                yield f"{name} has names without numbers of scenes: they are taken in their order."
    order = [s for s in shuffled(range(split.pictures), options.seed, "scenes") if s in usable]
    scenes, others = order[: options.scenes], order[options.scenes :]
    if not scenes:
        raise Sg2ImError(
            f"There is no scene of {split.path} of which each system has a picture: the names of "
            "pictures must end in the numbers of the true ones."
        )
    if len(scenes) < options.scenes:
        yield f"There are {len(scenes):,} scenes to ask about, not {options.scenes:,}."
    checked = [*others, *scenes][: options.checks]

    # ---- What can be asked about them
    listed = [*scenes, *(scene for scene in checked if scene not in set(scenes))]
    captions: dict[int, str] = {}
    path = Path(options.captions) if options.captions else find_captions(split)
    if path is not None:
        captions = read_captions(path, map(split.image_id, listed), options.seed)
    if "caption" in options.kinds:
        read = f"{len(captions):,} of {path}, " if captions else ""
        yield f"captions     {read}{len(listed) - len(captions):,} made of graphs"
    contents = dict(zip(listed, _contents(split, listed, captions, options), strict=True))

    # ---- The folder
    temporary = temporary_path(output)
    (temporary / "pictures").mkdir(parents=True)
    try:
        pictures = {}
        for name, system in zip(names, systems, strict=True):
            images = system_pictures(system, files.get(name), split, scenes, config)
            for scene, image in zip(scenes, images, strict=True):
                pictures[name, scene] = save_picture(image, temporary, options.seed)
        asked = [contents[scene] for scene in scenes]
        questions = plan_questions(asked, names, pictures, options.kinds, options.seed)
        if not questions:
            raise Sg2ImError(
                f"The graphs of {split.path} have no relationships: ask about something else with "
                "--kinds."
            )
        checks = _checks(split, [contents[scene] for scene in checked], temporary, options)
        study = Study(
            title=clean(options.title),
            seed=options.seed,
            command=clean(command),
            systems=tuple(names),
            pictures_of=f"{split.source}, {split.path.name}",
            questions_per_person=options.questions_per_person,
            checks_per_person=options.checks_per_person,
            questions=numbered([*questions, *checks], options.seed),
        )
        if consent is not None:
            (temporary / "consent.txt").write_text(consent, encoding="utf-8")
        write_study(study, temporary)
        if output.exists():
            output.rmdir()
        temporary.replace(output)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    yield from _summary(study, output)


def _contents(
    split: Split, scenes: Sequence[int], captions: Mapping[int, str], options: MakeOptions
) -> Iterator[Content]:
    vocabulary, relationships = split.vocabulary, split.relationships
    if options.relationships != "auto":
        relationships = options.relationships
    graphs = split.graphs(scenes, 0, relationships)
    for place, scene in enumerate(scenes):
        entries = graphs.get_example(place).to_json(vocabulary)
        names = entries["objects"]
        # A relationship that was drawn twice is said once.
        unique = list(dict.fromkeys(map(tuple, entries["relationships"])))
        graph = SceneGraph.from_json({**entries, "relationships": unique}, vocabulary)
        yield Content(
            scene=scene,
            caption=captions.get(split.image_id(scene)) or _words(graph.to_text(vocabulary)),
            objects=_object_choices(names, split),
            relations=_relation_choices(
                (names[s], predicate, names[o]) for s, predicate, o in unique
            ),
        )


def _object_choices(names: Iterable[str], split: Split) -> tuple[Choice, ...]:
    """A choice for each category, however many objects it has."""
    stuff, vocabulary = split.origin.stuff, split.vocabulary
    categories = list(dict.fromkeys(names))
    return tuple(
        Choice(
            id=f"c{number}",
            text=text,
            category=clean(name),
            thing=None if stuff is None else vocabulary.object_index(name) not in stuff,
        )
        for number, (name, text) in enumerate(zip(categories, _texts(categories), strict=True), 1)
    )


def _relation_choices(triples: Iterable[tuple[str, str, str]]) -> tuple[Choice, ...]:
    """A choice for each relation between categories."""
    relations = list(dict.fromkeys(triples))
    texts = _texts([" ".join(triple) for triple in relations])
    return tuple(
        Choice(id=f"c{number}", text=text, predicate=clean(triple[1]))
        for number, (triple, text) in enumerate(zip(relations, texts, strict=True), 1)
    )


def _texts(names: Sequence[str]) -> list[str]:
    """What participants read for different names; they still differ."""
    texts = [_words(name) for name in names]
    return texts if len(set(texts)) == len(texts) else [clean(name) for name in names]


def _words(text: str) -> str:
    return clean(_SUFFIXES.sub("", text))


# Attention checks ------------------------------------------------------------------------------


def _checks(
    split: Split, contents: Sequence[Content], folder: Path, options: MakeOptions
) -> list[Question]:
    true, jumbled, wrong = {}, {}, {}
    for content in contents:
        image = true_picture(split, content.scene)
        disorder = jumble(image, options.seed, content.scene)
        true[content.scene] = save_picture(image, folder, options.seed)
        jumbled[content.scene] = save_picture(disorder, folder, options.seed)
        wrong[content.scene] = _wrong(split, content, options.seed)
    right = [_best_seen(split, content) for content in contents]
    seed = options.seed
    return plan_checks(right, true, jumbled, wrong, options.kinds, options.checks, seed)


def _best_seen(split: Split, content: Content) -> Content:
    """The objects of a scene with the largest boxes, and some of its relations."""
    reader, index = split.dataset.reader, split.vocabulary.object_index
    begin, end = reader.object_offset[content.scene : content.scene + 2]
    corners = reader.boxes[begin:end]
    areas = (corners[:, 2:] - corners[:, :2]).prod(1)
    largest = {
        choice.id: areas[reader.categories[begin:end] == index(str(choice.category))].max()
        for choice in content.objects
    }
    objects = sorted(content.objects, key=lambda choice: -largest[choice.id])[:_IN_CHECK]
    return replace(content, objects=tuple(objects), relations=content.relations[:_IN_CHECK])


def _wrong(split: Split, content: Content, seed: int) -> Content:
    """What is not in a scene, whatever its graph leaves out: objects of the split's other
    categories, and relations of them."""
    reader, vocabulary = split.dataset.reader, split.vocabulary
    begin, end = reader.object_offset[content.scene : content.scene + 2]
    seen = {_words(vocabulary.objects[c]) for c in reader.categories[begin:end].tolist()}
    names = [vocabulary.objects[c] for c in sorted(set(reader.categories.tolist()))]
    names = [name for name in names if _words(name) not in seen]
    names = shuffled(names, seed, "wrong", content.scene)[:_IN_CHECK]
    there = [str(choice.category) for choice in content.objects]
    predicates = [str(choice.predicate) for choice in content.relations]
    triples = zip(names, predicates, there * len(names), strict=False)
    return Content(content.scene, "", _object_choices(names, split), _relation_choices(triples))


# What is said ----------------------------------------------------------------------------------


def _read_consent(path: Path) -> str:
    try:
        content = path.read_bytes()[: _MOST_CONSENT + 1]
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Sg2ImError(f"{path} is no text in UTF-8: give a text as --consent.") from error
    if len(content) > _MOST_CONSENT or not text.strip():
        raise Sg2ImError(f"{path} is empty, or longer than {_MOST_CONSENT:,} bytes: give a text.")
    return text


def _summary(study: Study, output: Path) -> Iterator[str]:
    asked = [question for question in study.questions if question.check is None]
    kinds = Counter(question.kind for question in asked)
    counts = ", ".join(f"{count:,} {kind}" for kind, count in kinds.items())
    checks = len(study.questions) - len(asked)
    each = min(study.questions_per_person, len(asked))
    yield f"systems      {', '.join(study.systems)}"
    yield f"questions    {len(asked):,} ({counts}), and {checks:,} attention checks"
    yield (
        f"participants {each:,} questions and {min(study.checks_per_person, checks):,} checks "
        f"each: {-(-3 * len(asked) // each):,} participants answer every question three times"
    )
    yield f"study        {output}"
