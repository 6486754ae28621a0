"""The pictures of the site: the idea, the house of floors, and what to try first."""

import ast
from collections.abc import Callable

from docs.making import ROOT
from docs.making.drawing import SOFT, arrow, box, picture, polygon, text

FLOOR_WORDS = {
    1: "what a task is, in Keras alone",
    2: "networks, methods, data: no model, no tape",
    3: "the tape: TensorFlow from here on",
    4: "the models and their training step",
    5: "what is done with models",
    6: "what is made of trained models",
    7: "what people call",
}
SHADES = ("sand", "sky", "sky", "sea", "sea", "deep", "deep")


def floors() -> dict[str, int]:
    """The rooms of the package and their floors, as the tests hold them to."""
    tree = ast.parse((ROOT / "tests/test_house.py").read_text())
    (value,) = (
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "FLOORS"
    )
    return ast.literal_eval(value)


def house() -> str:
    """The rooms, floor upon floor, with a roof of programs."""
    rooms = floors()
    numbers = sorted(set(rooms.values()))
    left, width, step, top = 40, 720, 74, 130
    parts = [
        polygon([(20, top), (left + width / 2, 24), (left + width + 20, top)], "sun"),
        text(left + width / 2, 74, "recipes and your programs", size=17, bold=True),
        text(left + width / 2, 98, "import mtlzoo", size=14),
    ]
    for place, number in enumerate(reversed(numbers)):
        y = top + place * step
        parts.append(box(left, y, width, step, "", SHADES[(number - 1) % len(SHADES)]))
        words = FLOOR_WORDS.get(number, "")
        parts.append(text(left + 12, y + 14, f"{number}  {words}", size=13, anchor="start"))
        names = sorted(room for room, floor in rooms.items() if floor == number)
        gap = 8
        wide = min(150, (width - 24 - gap * (len(names) - 1)) / len(names))
        for i, name in enumerate(names):
            size = min(14, 1.62 * wide / len(name))
            parts.append(box(left + 12 + i * (wide + gap), y + 28, wide, 36, name, size=size))
    bottom = top + len(numbers) * step
    parts.append(box(20, bottom, width + 40, 26, "Keras, TensorFlow", "sand", size=14))
    note = "A file imports from its own floor or from below, never upwards."
    parts.append(text(left + width / 2, bottom + 46, note, size=14, color=SOFT))
    return picture(800, bottom + 66, "The house: the rooms of mtlzoo by floor", parts)


def idea() -> str:
    """A model with outputs by task, and the four steps of its training."""
    parts = [
        text(20, 24, "A plain Keras model, outputs named by task", bold=True, anchor="start"),
        box(20, 98, 90, 44, "inputs", "sand"),
        box(150, 66, 150, 104, ["shared part", "read from the", "graph"], "sea", bold=True),
        arrow([(110, 120), (148, 120)]),
    ]
    names = ("income", "education", "never_married")
    for i, name in enumerate(names):
        y = 46 + 56 * i
        parts += [
            box(350, y, 130, 36, name, "sky"),
            arrow([(300, 120), (324, 120), (324, y + 18), (348, y + 18)]),
            box(530, y, 70, 36, f"loss {i + 1}", "plain"),
            arrow([(480, y + 18), (528, y + 18)]),
        ]
    parts += [
        text(415, 222, "a head for each task", size=13, color=SOFT),
        text(225, 188, "learns from all tasks", size=13, color=SOFT),
        text(20, 268, "One training step", bold=True, anchor="start"),
    ]
    steps = (
        (["T losses", "missing labels masked"], "plain"),
        (["T × T Gramian", "products of the tasks'", "gradients"], "sky"),
        (["T weights", "by the balancer"], "sun"),
        (["one update", "of the optimizer"], "sea"),
    )
    for i, (words, fill) in enumerate(steps):
        x = 20 + 195 * i
        parts.append(box(x, 290, 160, 76, words, fill, bold=True, size=13.5))
        if i:
            parts.append(arrow([(x - 35, 328), (x - 2, 328)]))
    parts.append(
        text(
            400,
            392,
            "Loss balancers need no Gramian; everything runs inside the traced step.",
            size=13,
            color=SOFT,
        )
    )
    return picture(
        800, 412, "A model whose outputs are named by task, and the steps of its training", parts
    )


def choosing() -> str:
    """What to try first, from baselines on."""
    parts = [
        box(
            190,
            14,
            420,
            50,
            ["1  One network for each task", "delta_m is measured against these"],
            "sand",
            bold=True,
        ),
        arrow([(400, 64), (400, 90)]),
        box(
            190,
            92,
            420,
            50,
            ["2  HardSharing, equal weights", "the fewest parameters, the least time"],
            "sand",
            bold=True,
        ),
        arrow([(400, 142), (400, 168)]),
        box(190, 170, 420, 40, "Is delta_m about 0 or above, for several seeds?", "plain"),
        arrow([(610, 190), (690, 190), (690, 252)], "yes", at=(625, 178)),
        box(600, 254, 180, 66, ["Keep it.", "Less to serve, less", "to train"], "sea", bold=True),
        arrow([(400, 210), (400, 252)], "no", at=(410, 230)),
        box(
            190,
            254,
            370,
            50,
            ["3  Are the losses of like size?", "initial_losses; the 100-fold warning"],
            "plain",
            bold=True,
        ),
        arrow([(190, 279), (110, 279), (110, 336)], "no", at=(140, 267)),
        box(
            20, 338, 190, 66, ["loss_weights, or", "imtl_l, uncertainty,", "scale_invariant"], "sky"
        ),
        arrow([(400, 304), (400, 336)], "yes", at=(410, 320)),
        box(
            230,
            338,
            330,
            66,
            ["4  What do the gradients say?", "track_gramian, TrainingHealth,", "GramianHistory"],
            "plain",
            bold=True,
        ),
        arrow([(300, 404), (300, 446)], "opposed", at=(310, 426)),
        arrow([(510, 404), (510, 446)], "not opposed", at=(520, 426)),
        box(
            120,
            448,
            270,
            66,
            ["more of each task's own:", "PLE, MMoE, NDDR, CrossStitch;", "pcgrad, cagrad, upgrad"],
            "sky",
        ),
        box(
            420,
            448,
            360,
            66,
            [
                "not the balancer's matter: more",
                "capacity, epochs, labels, or",
                "other groups of tasks",
            ],
            "sky",
        ),
    ]
    return picture(800, 530, "What to try first: baselines, scales, then conflicts", parts)


PICTURES: dict[str, Callable[[], str]] = {
    function.__name__: function for function in (house, idea, choosing)
}
