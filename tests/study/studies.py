"""A small study for tests, with pictures of one colour."""

from pathlib import Path

from PIL import Image

from sg2im_pyg.study.questions import Choice, Question, RightChoices, Study, write_study

CONSENT = "You help a study of pictures.\n\nYou can stop at any time.\n"


def small_study(folder: Path, captions: int = 2, lists: int = 1, **changes: object) -> Study:
    """Writes a study of two systems: captions, lists of objects and of relations, and a check of
    each kind; every participant is asked all of it."""
    (folder / "pictures").mkdir(parents=True)
    names = iter(f"pictures/{number:016x}.png" for number in range(10**6))

    def picture(colour: tuple[int, int, int]) -> str:
        name = next(names)
        Image.new("RGB", (64, 64), colour).save(folder / name)
        return name

    questions = []
    for number in range(captions):
        pair = (picture((40, 90 + number, 160)), picture((200, 120, 40 + number)))
        text = f"{number}: a sheep inside the grass, with a tree to its left, below the sky"
        systems = ("ours", "other")
        questions.append(Question(f"c{number}", "caption", number, text, pair, systems))
    for number in range(lists):
        named = ("sheep", "grass", "tree", "sky")
        objects = tuple(
            Choice(f"o{k}", name, name, name in ("sheep", "tree")) for k, name in enumerate(named)
        )
        related = ("sheep inside grass", "tree left of sheep", "sheep below sky")
        relations = tuple(
            Choice(f"r{k}", text, predicate=text.split(" ", 1)[1].rsplit(" ", 1)[0])
            for k, text in enumerate(related)
        )
        one = (picture((60, 160, 60 + number)),)
        questions.append(Question(f"o{number}", "objects", number, "", one, ("ours",), objects))
        questions.append(
            Question(f"r{number}", "relations", number, "", one, ("other",), relations)
        )
    pair, systems = (picture((1, 2, 3)), picture((3, 2, 1))), ("true", "shuffled")
    questions.append(Question("k0", "caption", 90, "two boats on the sea", pair, systems, check=0))
    choices = (Choice("a", "boat", "boat", True), Choice("b", "zebra", "zebra", True))
    right = RightChoices(("a",), ("b",))
    questions.append(
        Question("k1", "objects", 91, "", (picture((9, 9, 9)),), ("true",), choices, right)
    )
    checks = sum(question.check is not None for question in questions)
    study = Study(
        **{
            "title": "Pictures of scenes",
            "seed": 3,
            "command": "study make",
            "systems": ("ours", "other"),
            "pictures_of": "landscapes, test",
            "questions_per_person": len(questions) - checks,
            "checks_per_person": checks,
            "questions": tuple(questions),
            **changes,
        },
    )
    write_study(study, folder)
    (folder / "consent.txt").write_text(CONSENT, encoding="utf-8")
    return study
