"""Drawings: what they show, and that no boxes, names or graphs make them fail."""

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from sg2im_pyg import SceneGraph, Sg2ImError, Vocabulary
from sg2im_pyg.drawing import (
    category_colours,
    contact_sheet,
    figure,
    image_grid,
    render_graph,
    render_layout,
)
from sg2im_pyg.drawing.graphs import _curve
from sg2im_pyg.drawing.palette import PAPER, load_font, shorten, text_colour
from sg2im_pyg.drawing.placement import BEND, OBJECT, PREDICATE, place_graph
from sg2im_pyg.sources.landscapes.source import LANDSCAPE_OBJECTS

VOCABULARY = Vocabulary(LANDSCAPE_OBJECTS, ["left of", "above", "inside"])
COLOURS = category_colours(len(VOCABULARY.objects))
SKY, GRASS, WATER = 1, 2, 3


def pixels(image):
    return np.asarray(image.convert("RGB")).astype(int)


def shows(image, colour, least=1):
    """Whether so many pixels have a colour, but for what antialiasing and opacity change."""
    return (np.abs(pixels(image) - np.array(colour)).max(-1) <= 2).sum() >= least


def painted(categories, boxes, masks=None, **options):
    options = {"size": (9, 9), "scale": 1, "labels": False} | options
    return pixels(render_layout(categories, boxes, masks, VOCABULARY, **options))


# Colours


def test_colours_are_distinct_and_stay_with_their_index():
    colours = category_colours(200)
    assert len(set(colours)) == 200
    assert colours[:17] == category_colours(17)
    assert len(category_colours(5000)) == 5000
    assert category_colours(0) == ()


def test_first_colours_differ_clearly():
    colours = np.array(category_colours(30)[1:], float)
    distances = np.linalg.norm(colours[:, None] - colours[None], axis=-1)
    assert distances[~np.eye(len(colours), dtype=bool)].min() > 20


@pytest.mark.parametrize("colour", category_colours(200))
def test_text_stands_out_from_every_colour(colour):
    def luminance(rgb):  # WCAG 2.1
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in rgb]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    ink, ground = (luminance([c / 255 for c in rgb]) for rgb in (text_colour(colour), colour))
    contrast = (max(ink, ground) + 0.05) / (min(ink, ground) + 0.05)
    assert contrast >= 3  # large text


def test_long_text_is_cut_to_its_width():
    font = load_font(12)
    assert shorten("sky", font, 100) == "sky"
    short = shorten("a very long name\nof a category", font, 100)
    assert short.endswith("…") and "\n" not in short and font.getlength(short) <= 100
    assert shorten("sky", font, 1) == "…"


# Layouts


def test_a_box_is_painted_where_the_model_puts_it():
    # Pixel j of 9 lies at j / 8: the box covers pixels 2 to 6 across and 4 to 8 down.
    image = painted([SKY], [[2 / 8, 4 / 8, 6 / 8, 1.0]])
    expected = np.zeros((9, 9), bool)
    expected[4:9, 2:7] = True
    np.testing.assert_array_equal((image != np.array(PAPER)).any(-1), expected)
    inner = image[6, 4]  # nine tenths of the colour
    np.testing.assert_allclose(inner, 0.9 * np.array(COLOURS[SKY]) + 0.1 * np.array(PAPER), atol=1)


def test_masks_are_painted_within_their_boxes():
    left_half = torch.zeros(1, 16, 16)
    left_half[..., :8] = 1
    image = painted([SKY], [[0, 0, 1, 1]], left_half, size=(64, 64))
    assert shows(Image.fromarray(image[20:40, 2:30].astype(np.uint8)), image[30, 10], 20 * 28)
    assert (image[2:-2, 36:-2] == np.array(PAPER)).all()
    turned = painted([SKY], [[1, 0, 0, 1]], left_half, size=(64, 64))
    np.testing.assert_array_equal(turned, image[:, ::-1])


@pytest.mark.parametrize("order", [[0, 1], [1, 0]])
def test_small_objects_are_in_front(order):
    categories = torch.tensor([SKY, WATER])[order]
    boxes = torch.tensor([[0, 0, 1, 1], [0.25, 0.25, 0.75, 0.75]])[order]
    image = painted(categories, boxes)
    assert np.abs(image[4, 4] - COLOURS[WATER]).max() < 20
    assert np.abs(image[1, 4] - COLOURS[SKY]).max() < 20


def test_image_node_and_boxes_that_are_not_finite_are_left_out():
    nan, inf = float("nan"), float("inf")
    one = render_layout([SKY], [[0, 0, 0.5, 0.5]], None, VOCABULARY)
    four = render_layout(
        [WATER, SKY, GRASS, 0],
        [[nan, 0, 1, 1], [0, 0, 0.5, 0.5], [0, 0, inf, 1], [0, 0, 1, 1]],
        None,
        VOCABULARY,
    )
    np.testing.assert_array_equal(pixels(one), pixels(four))


def test_labels_do_not_hide_each_other():
    categories = list(range(1, 11))
    boxes = torch.tensor([[0.3, 0.3, 0.7, 0.7]]).expand(10, 4)
    image = render_layout(categories, boxes, None, VOCABULARY)
    for category in categories:
        assert shows(image, COLOURS[category], 100)


def test_labels_are_left_out_where_they_do_not_fit():
    with_labels = render_layout([SKY], [[0, 0, 1, 1]], None, VOCABULARY, (32, 32), 1)
    np.testing.assert_array_equal(
        pixels(with_labels), painted([SKY], [[0, 0, 1, 1]], size=(32, 32))
    )


numbers = st.one_of(
    st.floats(-1, 2, width=32),
    st.sampled_from([float("nan"), float("inf"), -float("inf"), 1e30, -1e30, 0.0, 1.0]),
)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 16), *[numbers] * 4), max_size=12),
    st.sampled_from([None, 1, 4, 16]),
    st.tuples(st.integers(1, 40), st.integers(1, 40), st.integers(1, 4)),
    st.booleans(),
)
def test_any_boxes_can_be_drawn(objects, mask_size, size, labels):
    masks = None
    if mask_size:
        masks = torch.rand(len(objects), mask_size, mask_size)
        masks[:1] = float("nan")
    height, width, scale = size
    image = render_layout(
        [entry[0] for entry in objects],
        [entry[1:] for entry in objects],
        masks,
        VOCABULARY,
        (height, width),
        scale,
        labels,
    )
    assert image.size == (width * scale, height * scale) and image.mode == "RGB"


def test_layout_refuses_shapes_that_do_not_fit():
    with pytest.raises(ValueError, match="2 categories, 1 boxes and no masks"):
        render_layout([1, 2], [[0, 0, 1, 1]], None, VOCABULARY)
    with pytest.raises(ValueError, match="1 categories, 1 boxes and 3 masks"):
        render_layout([1], [[0, 0, 1, 1]], torch.ones(3, 4, 4), VOCABULARY)


# Graphs


def graph_of(names, relationships=()):
    return {"objects": list(names), "relationships": [list(triple) for triple in relationships]}


def test_both_forms_of_a_graph_give_the_same_drawing():
    entries = graph_of(["sky", "grass", "tree"], [[0, "above", 1], [2, "inside", 1]])
    graph = SceneGraph.from_json(entries, VOCABULARY)
    assert len(graph.x) == 4  # with the image node
    drawing = render_graph(entries, VOCABULARY)
    np.testing.assert_array_equal(pixels(render_graph(graph, VOCABULARY)), pixels(drawing))


def test_every_object_is_visible_also_without_relationships():
    drawing = render_graph(graph_of(LANDSCAPE_OBJECTS, [[0, "above", 1]]), VOCABULARY)
    for colour in COLOURS[1:]:
        assert shows(drawing, colour, 300)


def test_drawing_tells_subject_from_object_and_each_relationship_shows():
    drawings = [
        render_graph(graph_of(["sky", "grass"], triples), VOCABULARY, (400, 400))
        for triples in (
            [],
            [[0, "above", 1]],
            [[1, "above", 0]],
            [[0, "above", 1], [1, "above", 0]],
            [[0, "above", 1], [0, "above", 1]],
            [[0, "above", 1], [0, "above", 0]],
            [[0, "inside", 1]],
        )
    ]
    assert len({drawing.tobytes() for drawing in drawings}) == len(drawings)
    assert {drawing.size for drawing in drawings} == {(400, 400)}


def test_graphs_too_large_to_read_say_so():
    drawing = render_graph(graph_of(["sky"] * 1000), VOCABULARY, (50, 500))
    assert drawing.size == (500, 120)


def test_long_names_are_cut():
    vocabulary = Vocabulary(["category " * 100], ["related " * 100])
    drawing = render_graph(
        graph_of([vocabulary.objects[1]] * 2, [[0, vocabulary.predicates[1], 1]]), vocabulary
    )
    assert drawing.width < 400


def test_wrong_graphs_raise():
    with pytest.raises(Sg2ImError, match="skyy"):
        render_graph(graph_of(["skyy"]), VOCABULARY)


def random_graphs(most_objects, most_relationships):
    return st.integers(1, most_objects).flatmap(
        lambda count: st.tuples(
            st.just(count),
            st.lists(
                st.tuples(st.integers(0, count - 1), st.integers(0, count - 1)),
                max_size=most_relationships,
            ),
        )
    )


def placed(count, relationships):
    objects = [(70 + 13 * (i % 5), 38) for i in range(count)]
    return place_graph(objects, [(50, 25)] * len(relationships), relationships)


@settings(max_examples=60, deadline=None)
@given(random_graphs(10, 30))
def test_boxes_do_not_overlap_and_lie_within_the_drawing(graph):
    placement = placed(*graph)
    boxes = [node for node in placement.nodes if node.kind != BEND]
    assert Counter(node.kind for node in boxes) == Counter(
        {OBJECT: graph[0], PREDICATE: len(graph[1])}
    )
    for i, a in enumerate(boxes):
        assert a.width / 2 - 1e-6 <= a.x <= placement.width - a.width / 2 + 1e-6
        assert a.height / 2 - 1e-6 <= a.y <= placement.height - a.height / 2 + 1e-6
        for b in boxes[:i]:
            apart_x = abs(a.x - b.x) - (a.width + b.width) / 2
            apart_y = abs(a.y - b.y) - (a.height + b.height) / 2
            assert max(apart_x, apart_y) > 10


@settings(max_examples=60, deadline=None)
@given(random_graphs(8, 16))
def test_lines_lead_from_subject_over_predicate_to_object_and_through_no_other_box(graph):
    count, relationships = graph
    placement = placed(count, relationships)
    ends = Counter()
    for route in placement.routes:
        first, last = route.nodes[0], route.nodes[-1]
        start, end = (first, last) if route.heads_down else (last, first)
        ends[route.relationship, start.kind, start.number, end.kind, end.number] += 1
        for x, y in _curve(route):
            for node in placement.nodes:
                if node.kind != BEND and node is not first and node is not last:
                    inside = abs(x - node.x) < node.width / 2 and abs(y - node.y) < node.height / 2
                    assert not inside
    expected = Counter()
    for t, (subject, obj) in enumerate(relationships):
        expected[t, OBJECT, subject, PREDICATE, t] += 1
        expected[t, PREDICATE, t, OBJECT, obj] += 1
    assert ends == expected


def test_a_planar_graph_is_drawn_without_crossings():
    placement = placed(7, [(4, 1), (2, 0), (6, 2), (1, 0), (3, 1), (5, 2)])
    lines = [(route.leave[0], route.leave[1], route.arrive[0]) for route in placement.routes]
    for x0, y0, x1 in lines:
        for other_x0, other_y0, other_x1 in lines:
            if y0 == other_y0:
                assert (x0 - other_x0) * (x1 - other_x1) >= 0


# Sheets


def plain(colour, size=(8, 8)):
    return Image.new("RGB", size, colour)


def test_grid_puts_rows_and_columns_in_their_places():
    grid = image_grid([[plain("red"), plain("blue", (4, 4))], [None, plain("lime")]], gap=2)
    assert grid.size == (22, 22)
    assert grid.getpixel((5, 5)) == (255, 0, 0)
    assert grid.getpixel((15, 5)) == (0, 0, 255)  # enlarged to its cell
    assert grid.getpixel((5, 15)) == (255, 255, 255)
    assert grid.getpixel((15, 15)) == (0, 255, 0)


def test_grid_keeps_proportions():
    grid = pixels(image_grid([[plain("red", (100, 50))]], cell_size=(20, 20), gap=0))
    red = (grid == np.array([255, 0, 0])).all(-1)
    assert red.any(1).sum() == 10 and red.any(0).sum() == 20


def test_empty_grid_and_short_rows():
    assert image_grid([]).size == (4, 4)
    assert image_grid([[], [plain("red")]], gap=0).size == (8, 16)


def test_sheet_enlarges_pictures_and_leaves_room_for_titles():
    rows = [[plain("red", (64, 64)), plain("blue", (300, 100))]] * 2
    sheet = contact_sheet(rows, ["picture", "graph"], ["first", "second"], cell_height=128)
    assert shows(sheet, (255, 0, 0), 2 * 128 * 128)
    assert sheet.height > 2 * 128 + 20
    assert 3 * 128 < sheet.width < 3 * 128 + 120
    bare = contact_sheet(rows, ["picture", "graph"], cell_height=128)
    assert bare.width < sheet.width


def test_sheet_refuses_missing_titles():
    with pytest.raises(ValueError, match="2 images but there are 1 column titles"):
        contact_sheet([[plain("red"), plain("red")]], ["one"])
    with pytest.raises(ValueError, match="1 rows but 2 row titles"):
        contact_sheet([[plain("red")]], ["one"], ["a", "b"])


def test_a_crowd_of_objects_is_drawn():
    """Names that would only hide others are left out; nothing takes minutes."""
    torch.manual_seed(0)
    corner = torch.rand(300, 2) * 0.8
    boxes = torch.cat([corner, corner + 0.2], dim=1)
    vocabulary = Vocabulary(["a long name of a thing"], [])
    drawing = render_layout(torch.ones(300).long(), boxes, None, vocabulary, (64, 64), 4)
    assert drawing.size == (256, 256)


def boxes_of(image, colour):
    """The rectangles of a colour, as [left, top, right, bottom], in reading order."""
    rows, columns = (np.abs(pixels(image) - np.array(colour)).max(-1) <= 2).nonzero()
    left = sorted(set(columns) - {c + 1 for c in columns})
    top = sorted(set(rows) - {r + 1 for r in rows})
    right = sorted(set(columns) - {c - 1 for c in columns})
    bottom = sorted(set(rows) - {r - 1 for r in rows})
    return [
        [x0, y0, x1 + 1, y1 + 1]
        for y0, y1 in zip(top, bottom, strict=True)
        for x0, x1 in zip(left, right, strict=True)
        if tuple(pixels(image)[y0, x0]) == colour
    ]


RED, BLUE = (255, 0, 0), (0, 0, 255)


def test_figure_puts_graphs_above_their_pictures_in_the_same_column():
    column = plain(RED, (60, 30)), plain(BLUE, (4, 8))  # 80 x 40 when enlarged
    image = figure([[column] * 3], image_height=40)
    graphs, below = boxes_of(image, RED), boxes_of(image, BLUE)
    assert len(graphs) == len(below) == 3
    for (x0, y0, x1, y1), (u0, v0, u1, v1) in zip(graphs, below, strict=True):
        assert (x1 - x0, y1 - y0) == (60, 30)  # text is not scaled
        assert abs(v1 - v0 - 40) <= 2 and abs(u1 - u0 - 20) <= 2  # smooth edges
        assert abs((x0 + x1) - (u0 + u1)) <= 2 and y1 < v0
    assert len({y0 for _, y0, _, _ in graphs}) == 1
    steps = {b[0] - a[0] for a, b in zip(graphs, graphs[1:], strict=False)}
    assert len(steps) == 1


@pytest.mark.parametrize(
    "count, most_width, rows",
    [(6, 2400, [6]), (7, 2400, [4, 3]), (8, 2400, [4, 4]), (13, 2400, [5, 4, 4]), (4, 250, [2, 2])],
)
def test_long_figures_are_shared_evenly_among_double_rows(count, most_width, rows):
    column = plain(RED, (100, 20)), plain(BLUE, (20, 20))
    image = figure([[column] * count], image_height=20, most_width=most_width)
    found = Counter(box[1] for box in boxes_of(image, RED))
    assert [found[y] for y in sorted(found)] == rows
    assert image.width <= most_width


def test_each_group_of_a_figure_begins_a_double_row_below_a_line():
    column = plain(RED, (20, 20)), plain(BLUE, (20, 20))
    image = figure([[column] * 2, [column], [column] * 7], image_height=20)
    found = Counter(box[1] for box in boxes_of(image, RED))
    assert [found[y] for y in sorted(found)] == [2, 1, 4, 3]
    coloured = np.ptp(pixels(image), axis=-1).max(axis=1) > 100
    lines = (~coloured & (pixels(image).min(-1).min(axis=1) < 255)).nonzero()[0]
    assert len(lines) == 4 and lines[1] - lines[0] == lines[3] - lines[2] == 1  # 2 pixels each
    assert sorted(found)[0] < lines[0] < sorted(found)[1] < lines[2] < sorted(found)[2]


def test_figure_reduces_graphs_that_are_too_large_and_needs_a_column():
    column = plain(RED, (2000, 100)), plain(BLUE, (8, 8))
    image = figure([[column]])
    [(x0, y0, x1, y1)] = boxes_of(image, RED)
    assert (x1 - x0, y1 - y0) == (640, 32)
    for empty in ([], [[]]):
        with pytest.raises(ValueError, match="at least one column"):
            figure(empty)
