"""One small data set, written as several programs write theirs."""

import base64
import csv
import io
import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

WIDTH, HEIGHT = 80, 60


@dataclass
class Truth:
    """What every format is to be read as: names and boxes (pixels) of each picture's objects."""

    pictures: dict[str, list[tuple[str, tuple[float, float, float, float]]]] = field(
        default_factory=lambda: {
            "a": [("cat", (4, 6, 24, 26)), ("tree", (30, 2, 70, 58))],
            "b": [("cat", (10, 10, 50, 40)), ("cat", (0, 0, 8, 8)), ("dog", (60, 30, 80, 60))],
            "c": [("dog", (20, 15, 60, 45))],
            "d": [("tree", (1, 1, 41, 31)), ("dog", (40, 30, 79, 59))],
        }
    )

    def objects(self):
        return [(key, *entry) for key, entries in self.pictures.items() for entry in entries]


TRUTH = Truth()
NAMES = ("cat", "dog", "tree")


def picture(path, width=WIDTH, height=HEIGHT, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(len(path.name)).integers(0, 256, (height, width, 3), np.uint8)
    Image.fromarray(pixels).save(path, **options)


def pictures(folder, suffix=".png", keys=TRUTH.pictures):
    for key in keys:
        picture(Path(folder) / f"{key}{suffix}")


def triangle(box):
    """Three corners of a box."""
    x0, y0, x1, y1 = box
    return [x0, y0, x1, y0, x0, y1]


def coco(
    first_id=1,
    first_category=1,
    file_name="{}.png",
    segmentation=lambda box: [triangle(box)],
    identity=lambda value: value,
    keys=TRUTH.pictures,
    sizes=True,
):
    """COCO's lists."""
    images, annotations = [], []
    for number, key in enumerate(keys, first_id):
        entry = {"id": identity(number), "file_name": file_name.format(key)}
        images.append(entry | ({"width": WIDTH, "height": HEIGHT} if sizes else {}))
        for name, (x0, y0, x1, y1) in TRUTH.pictures[key]:
            annotations.append(
                {
                    "id": identity(len(annotations) + first_id),
                    "image_id": identity(number),
                    "category_id": identity(NAMES.index(name) + first_category),
                    "bbox": [x0, y0, x1 - x0, y1 - y0],
                    "area": float((x1 - x0) * (y1 - y0)),
                    "iscrowd": 0,
                }
            )
            if segmentation is not None:
                annotations[-1]["segmentation"] = segmentation((x0, y0, x1, y1))
    categories = [
        {"id": identity(i), "name": name, "supercategory": ""}
        for i, name in enumerate(NAMES, first_category)
    ]
    return {"images": images, "annotations": annotations, "categories": categories}


def write_json(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


def cvat(root):
    pictures(root / "images" / "default")
    content = coco() | {"licenses": [{"name": "", "id": 0, "url": ""}], "info": {"year": ""}}
    for entry in content["annotations"]:
        entry["attributes"] = {"occluded": False}
    write_json(root / "annotations" / "instances_default.json", content)


def label_studio(root):
    """Ids from 0, pictures under other names, no sizes, no outlines."""
    for key in TRUTH.pictures:
        picture(root / "images" / f"8a7f-{key}.png")
    name = "../../label-studio/data/media/upload/1/8a7f-{}.png"
    content = coco(0, 0, name, lambda box: [], sizes=False)
    for entry in content["images"]:
        entry["width"], entry["height"] = None, float("nan")
    write_json(root / "result.json", content)


def label_studio_windows(root):
    pictures(root / "images")
    write_json(root / "result.json", coco(0, 0, "images\\{}.png"))


def roboflow(root):
    """A folder for each split, with the pictures beside the file; category 0 has no object."""
    for folder, keys in (("train", "ab"), ("valid", "c"), ("test", "d")):
        pictures(root / folder, ".jpg", keys)
        content = coco(0, 1, "{}.jpg", lambda box: [], keys=keys)
        content["categories"].insert(0, {"id": 0, "name": "animals", "supercategory": "none"})
        write_json(root / folder / "_annotations.coco.json", content)


def labelme2coco(root):
    pictures(root)
    write_json(root / "trainval.json", coco(1, 0, "C:/Users/me/photos/{}.png"))


def via(root):
    """Ids as texts, one flat polygon."""
    pictures(root)
    content = coco(0, 1, "{}.png", triangle, identity=str)
    write_json(root / "via_export_coco.json", content)


def fiftyone(root):
    pictures(root / "data")
    content = coco(1, 0, segmentation=None)
    for entry in content["annotations"]:
        entry["confidence"] = float("nan")  # Python's own json writes it so
    write_json(root / "labels.json", content)


def supervision(root):
    pictures(root / "images")
    content = coco(1, 0, segmentation=lambda box: [])
    for entry in content["annotations"]:
        entry["bbox"] = [float(value) for value in entry["bbox"]]
    write_json(root / "annotations.json", content)


def names_for_ids(root):
    """Ids that are names, or have ten digits and a fraction of nothing."""
    pictures(root)
    content = coco(7_000_000_001, 1, identity=float)
    for entry in content["images"]:
        entry["id"] = entry["file_name"]
    for entry in content["annotations"]:
        entry["image_id"] = content["images"][int(entry["image_id"]) - 7_000_000_001]["id"]
    write_json(root / "instances.json", content)


def voc(root):
    """VOC's own folders, with lists of splits."""
    pictures(root / "JPEGImages", ".jpg")
    for key, objects in TRUTH.pictures.items():
        write_voc(root / "Annotations" / f"{key}.xml", f"{key}.jpg", objects)
    for split, keys in (("train", "ab"), ("val", "c"), ("test", "d"), ("cat_train", "")):
        path = root / "ImageSets" / "Main" / f"{split}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{key}\n" for key in keys), encoding="utf-8")


def write_voc(path, name, objects, size=(WIDTH, HEIGHT)):
    lines = ["<annotation>", "\t<folder>x</folder>", f"\t<filename>{name}</filename>"]
    lines += ["\t<path>C:\\Users\\me\\x.jpg</path>", "\t<source><database>X</database></source>"]
    lines += [f"\t<size><width>{size[0]}</width><height>{size[1]}</height><depth>3</depth></size>"]
    for label, corners in objects:
        tags = zip(("xmin", "ymin", "xmax", "ymax"), corners, strict=True)
        box = "".join(f"<{tag}>{value}</{tag}>" for tag, value in tags)
        part = "<part><name>head</name><bndbox><xmin>1</xmin></bndbox></part>"
        lines += [f"\t<object><name>{label}</name><pose>Unspecified</pose>"]
        lines += [f"\t\t<difficult>0</difficult><bndbox>{box}</bndbox>{part}</object>"]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([*lines, "</annotation>"]), encoding="utf-8")


def voc_beside(root):
    """labelImg: beside the pictures; the size is missing, the suffix is another one."""
    pictures(root, ".jpeg")
    for key, objects in TRUTH.pictures.items():
        write_voc(root / f"{key}.xml", f"{key}.png", objects, (0, 0))


def yolo_line(name, box):
    x0, y0, x1, y1 = box
    values = ((x0 + x1) / 2 / WIDTH, (y0 + y1) / 2 / HEIGHT, (x1 - x0) / WIDTH, (y1 - y0) / HEIGHT)
    return f"{NAMES.index(name)} " + " ".join(f"{value:.9f}" for value in values)


def write_yolo(folder, keys, line=yolo_line):
    folder.mkdir(parents=True, exist_ok=True)
    for key in keys:
        lines = [line(*entry) for entry in TRUTH.pictures[key]]
        (folder / f"{key}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def yolo(root):
    """Ultralytics: data.yaml, and folders of splits below images and labels."""
    for split, keys in (("train", "ab"), ("val", "c"), ("test", "d")):
        pictures(root / "images" / split, ".png", keys)
        write_yolo(root / "labels" / split, keys)
    names = "".join(f"  {i}: {name}\n" for i, name in enumerate(NAMES))
    text = f"path: ../datasets/mine\ntrain: images/train\nval: images/val\nnames:\n{names}"
    (root / "data.yaml").write_text(text, encoding="utf-8")


def yolo_segments(root):
    """Roboflow: a folder for each split with images and labels; polygons."""

    def line(name, box):
        values = [v / (HEIGHT if i % 2 else WIDTH) for i, v in enumerate(triangle(box))]
        return f"{NAMES.index(name)} " + " ".join(f"{value:.9f}" for value in values)

    for split, keys in (("train", "ab"), ("valid", "c"), ("test", "d")):
        pictures(root / split / "images", ".jpg", keys)
        write_yolo(root / split / "labels", keys, line)
    text = "train: ../train/images\nval: ../valid/images\nnc: 3\nnames: ['cat', 'dog', 'tree']\n"
    (root / "data.yaml").write_text(text, encoding="utf-8")


def yolo_label_studio(root):
    pictures(root / "images")
    write_yolo(root / "labels", TRUTH.pictures)
    (root / "classes.txt").write_text("\n".join(NAMES), encoding="utf-8")
    categories = [{"id": i, "name": name} for i, name in enumerate(NAMES)]
    write_json(root / "notes.json", {"categories": categories, "info": {"year": 2026}})


def yolo_cvat(root):
    """CVAT's YOLO 1.1: text files beside the pictures, obj.names, train.txt."""
    folder = root / "obj_train_data"
    pictures(folder)
    write_yolo(folder, TRUTH.pictures)
    (root / "obj.names").write_text("\n".join(NAMES) + "\n", encoding="utf-8")
    lines = [f"data/obj_train_data/{key}.png" for key in TRUTH.pictures]
    (root / "train.txt").write_text("\n".join(lines), encoding="utf-8")
    (root / "obj.data").write_text("classes = 3\ntrain = data/train.txt\n", encoding="utf-8")


def labelme(root):
    pictures(root / "photos")
    for key, objects in TRUTH.pictures.items():
        shapes = []
        for name, box in objects:
            points = np.reshape(triangle(box), (-1, 2)).tolist()
            shape = {"label": name, "points": points, "shape_type": "polygon"}
            shapes.append(shape | {"group_id": None, "flags": {}})
        content = {"version": "5.4.1", "flags": {}, "shapes": shapes}
        content |= {"imagePath": f"..\\photos\\{key}.png", "imageData": None}
        content |= {"imageHeight": HEIGHT, "imageWidth": WIDTH}
        write_json(root / "labels" / f"{key}.json", content)


def labelme_masks(root):
    """The shapes of labelme that are no polygons."""
    pictures(root)
    for key, objects in TRUTH.pictures.items():
        shapes = []
        for position, (name, box) in enumerate(objects):
            x0, y0, x1, y1 = box
            shape = {"label": name, "points": [[x1, y1], [x0, y0]], "shape_type": "rectangle"}
            if position:
                buffer = io.BytesIO()
                mask = np.full((y1 - y0, x1 - x0), 255, np.uint8)
                Image.fromarray(mask).save(buffer, "PNG")
                shape["points"] = [[x0, y0], [x1, y1]]
                shape |= {
                    "shape_type": "mask",
                    "mask": base64.b64encode(buffer.getvalue()).decode("ascii"),
                }
            shapes.append(shape)
        content = {"shapes": shapes, "imagePath": f"{key}.png", "imageData": None}
        content |= {"imageHeight": HEIGHT, "imageWidth": WIDTH}
        write_json(root / f"{key}.json", content)


def write_csv(path, names, rows, separator=","):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter=separator)
        writer.writerows(([names] if names else []) + rows)


def csv_tensorflow(root):
    pictures(root)
    rows = [[f"{key}.png", WIDTH, HEIGHT, name, *box] for key, name, box in TRUTH.objects()]
    names = ["filename", "width", "height", "class", "xmin", "ymin", "xmax", "ymax"]
    write_csv(root / "labels.csv", names, rows)


def csv_vott(root):
    pictures(root)
    rows = [[f"{key}.png", *map(float, box), name] for key, name, box in TRUTH.objects()]
    write_csv(root / "export.csv", ["image", "xmin", "ymin", "xmax", "ymax", "label"], rows)


def csv_without_names(root):
    """keras-retinanet, with folders of another computer."""
    pictures(root)
    rows = [[f"/photos/me/{key}.png", *box, name] for key, name, box in TRUTH.objects()]
    write_csv(root / "annotations.csv", None, rows)


def csv_sides(root):
    """Semicolons, a column of splits, x, y, width and height."""
    pictures(root)
    split = {"a": "train", "b": "train", "c": "Validation", "d": "test"}
    rows = [
        [key, x0, y0, x1 - x0, y1 - y0, name, split[key]]
        for key, name, (x0, y0, x1, y1) in TRUTH.objects()
    ]
    names = ["Image", "x", "y", "width", "height", "Label", "split"]
    write_csv(root / "boxes.csv", names, rows, ";")


def csv_open_images(root):
    """Corners in parts of the picture."""
    pictures(root, ".jpg")
    rows = [
        [key, name, x0 / WIDTH, x1 / WIDTH, y0 / HEIGHT, y1 / HEIGHT]
        for key, name, (x0, y0, x1, y1) in TRUTH.objects()
    ]
    names = ["ImageID", "LabelName", "XMin", "XMax", "YMin", "YMax"]
    write_csv(root / "boxes.csv", names, rows)


def csv_one_column(root):
    pictures(root, ".jpg")
    rows = [
        [key, WIDTH, HEIGHT, f"[{x0}, {y0}, {x1 - x0}, {y1 - y0}]", name]
        for key, name, (x0, y0, x1, y1) in TRUTH.objects()
    ]
    names = ["image_id", "width", "height", "bbox", "class"]
    write_csv(root / "train.csv", names, rows)


def csv_via(root):
    pictures(root)
    rows = []
    for key, name, (x0, y0, x1, y1) in TRUTH.objects():
        shape = {"name": "rect", "x": x0, "y": y0, "width": x1 - x0, "height": y1 - y0}
        rows.append([f"{key}.png", 100, "{}", 1, 0, json.dumps(shape), json.dumps({"type": name})])
    names = "filename,file_size,file_attributes,region_count,region_id,region_shape_attributes,"
    write_csv(root / "via.csv", [*(names + "region_attributes").split(",")], rows)


def via_project(root):
    pictures(root)
    content = {}
    for key, objects in TRUTH.pictures.items():
        regions = []
        for name, box in objects:
            points = triangle(box)
            shape = {"name": "polygon", "all_points_x": points[::2], "all_points_y": points[1::2]}
            regions.append({"shape_attributes": shape, "region_attributes": {"class": name}})
        entry = {"filename": f"{key}.png", "size": 99, "regions": regions, "file_attributes": {}}
        content[f"{key}.png99"] = entry
    write_json(root / "via_project.json", {"_via_settings": {}, "_via_img_metadata": content})


def vott(root):
    pictures(root)
    assets = {}
    for key, objects in TRUTH.pictures.items():
        regions = []
        for name, (x0, y0, x1, y1) in objects:
            box = {"left": x0, "top": y0, "width": x1 - x0, "height": y1 - y0}
            regions.append({"id": "x", "type": "RECTANGLE", "tags": [name], "boundingBox": box})
        asset = {"name": f"{key}.png", "path": f"file:C:/me/{key}.png"}
        asset |= {"size": {"width": WIDTH, "height": HEIGHT}}
        assets[f"{key}00"] = {"asset": asset, "regions": regions}
    write_json(root / "vott-json-export" / "x-export.json", {"name": "x", "assets": assets})


def visual_genome(root):
    """scene_graphs.json: no sizes, pictures called by their ids."""
    entries = []
    for number, (_, objects) in enumerate(TRUTH.pictures.items(), 1):
        picture(root / f"{number}.jpg")
        listed = [
            {"object_id": 100 * number + i, "names": [name.upper()], "synsets": []}
            | {"x": box[0], "y": box[1], "w": box[2] - box[0], "h": box[3] - box[1]}
            | {"attributes": ["Green "] if name == "tree" else []}
            for i, (name, box) in enumerate(objects)
        ]
        related = []
        if len(objects) > 1:
            related = [
                {"relationship_id": 9, "predicate": "ON", "synsets": []}
                | {"subject_id": 100 * number, "object_id": 100 * number + 1}
            ]
        entries.append({"image_id": number, "objects": listed, "relationships": related})
    write_json(root / "scene_graphs.json", entries)


def gqa(root):
    for name, numbers in (("train", (1, 2)), ("val", (3, 4))):
        content = {}
        for number in numbers:
            picture(root / "images" / f"{number}.jpg")
            objects = list(TRUTH.pictures.values())[number - 1]
            listed = {}
            for i, (label, box) in enumerate(objects):
                listed[str(100 * number + i)] = {
                    **{"name": label, "x": box[0], "y": box[1]},
                    **{"w": box[2] - box[0], "h": box[3] - box[1]},
                    "attributes": ["green"] if label == "tree" else [],
                    "relations": [],
                }
            if len(objects) > 1:
                relation = {"object": str(100 * number + 1), "name": "on"}
                listed[str(100 * number)]["relations"].append(relation)
            content[str(number)] = {"width": WIDTH, "height": HEIGHT, "objects": listed}
        write_json(root / f"{name}_sceneGraphs.json", content)


FORMATS = {
    "coco": (cvat, label_studio, label_studio_windows, roboflow, labelme2coco, via, fiftyone)
    + (supervision, names_for_ids),
    "voc": (voc, voc_beside),
    "yolo": (yolo, yolo_segments, yolo_label_studio, yolo_cvat),
    "labelme": (labelme, labelme_masks),
    "csv": (csv_tensorflow, csv_vott, csv_without_names, csv_sides, csv_open_images)
    + (csv_one_column, csv_via),
    "via": (via_project,),
    "vott": (vott,),
    "scene_graphs": (visual_genome, gqa),
}
"""What writes the data set in each format."""

CASES = [(kind, write) for kind, writers in FORMATS.items() for write in writers]
OUTLINED = {cvat, label_studio_windows, labelme2coco, via, names_for_ids, yolo_segments, labelme}
OUTLINED |= {via_project}
"""Those whose objects are triangles."""
