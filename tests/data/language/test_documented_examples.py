"""The examples of graphs in words in the documentation are read as it says."""

import re
from pathlib import Path

import pytest

from sg2im_pyg import SceneGraph, Sg2ImError
from sg2im_pyg.sources.landscapes.source import landscape_vocabulary

REPOSITORY = Path(__file__).resolve().parents[3]
VOCABULARY = landscape_vocabulary()
PAGE = (REPOSITORY / "docs" / "generating.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| (?!text )(\w.*?) \| (`.*`|not .*) \|$", PAGE, re.MULTILINE)


@pytest.mark.parametrize(("text", "told"), ROWS)
def test_the_table(text, told):
    if told.startswith("`"):
        graph = SceneGraph.from_text(text, VOCABULARY)
        assert graph.to_notation(VOCABULARY) == told.strip("`")
    else:
        with pytest.raises(Sg2ImError, match=f"(?i){told}"):
            SceneGraph.from_text(text, VOCABULARY)


def test_the_readme():
    assert len(ROWS) == 7
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    [text] = re.findall(r'generate\.py "(.*?)"', readme)
    assert text in PAGE
    graph = SceneGraph.from_text(text, VOCABULARY)
    assert f"`{graph.to_notation(VOCABULARY)}`" in readme
