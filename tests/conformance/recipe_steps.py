"""What a TPU would make of a recipe's steps: `python -m conformance.recipe_steps NAME`.

A process for each recipe, since all define flags of the same names. Its own code makes and compiles
the models, from few generated rows; where it would train one, one batch of static shapes is taken,
and the step is looked at instead. Each prints a line of JSON: what could not run on a TPU.
"""

import functools
import importlib
import json
import pathlib
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable
from types import SimpleNamespace

import keras
import numpy as np
import tensorflow as tf
from absl import flags

from conformance.compiling import faults_for_tpus
from mtlzoo import MultiTaskModel, data
from recipes.parts.fashion import SHAPE, Item
from recipes.parts.training import Progress

ROWS = 8
FOUND: list[str] = []


def look(model: MultiTaskModel, x, y=None, **arguments):
    """Instead of `fit`: print what is wrong with the compiled step, with all its metrics."""
    if y is None:
        batch = next(iter(x.unbatch().batch(ROWS, drop_remainder=True)))
    else:
        batch = (x[:ROWS], {name: values[:ROWS] for name, values in y.items()})
    batch = tf.nest.map_structure(tf.constant, batch)
    step = tf.function(model.train_step, jit_compile=True)
    line: dict = {"model": model.name, "metrics": len(model.get_metrics_result())}
    try:
        line["faults"] = faults_for_tpus(step, batch)
        if not line["faults"]:
            line["finite"] = bool(np.isfinite(step(batch)["loss"]))
    except Exception as error:
        line["faults"] = [f"{type(error).__name__}: {error}"[-1500:]]
    print(json.dumps(line), flush=True)
    FOUND.append(model.name)
    return SimpleNamespace(history=defaultdict(lambda: [0.0]))


def score(model: MultiTaskModel, *arguments, **options):
    """Instead of `evaluate`."""
    return defaultdict(float)


# -- how each recipe makes its models -------------------------------------------------------------


def quickstart(recipe):
    census = data.load("census_income", batch_size=64)
    recipe.train_all(census)


def quickstart_gated(recipe):
    """The model that the recipe exports, alone."""
    train = recipe.train

    def one(build, balancer, census, progress):
        return train(build, balancer, census, progress) if build.__name__ == "mmoe" else None

    recipe.train = one
    quickstart(recipe)


def census_income(recipe):
    recipe.data.load = lambda name, load=data.load, **_: load("census_income", batch_size=64)
    census = recipe.load()
    recipe.train_all(census, "pcgrad")


def census_stream(recipe):
    """The training before the stream; each way of learning from it takes the same step."""
    pool, test, tasks = recipe.census_streams.load("sample", None)
    sizes = {"before": 64, "rows": 64, "test_rows": 16}
    recipe.ways = lambda tasks: {}
    recipe.learn(recipe.census_streams.make("years", pool, test, 0, **sizes), tasks, 0)


def dynamic_sharing(recipe):
    census = data.load("census_income", batch_size=64)
    builders = {name: functools.partial(recipe.build, name) for name in recipe.settings(1)}
    settings = {"seeds": 1, "epochs": 1, "learning_rate": 0.01, "balancer": "pcgrad"}
    recipe.over_seeds(lambda seed: census, builders, **settings)


def some_fashion(shape):
    """A batch of generated pairs."""
    rng = np.random.default_rng(0)
    pictures = rng.random((ROWS, *shape)).astype("float32")
    labels = {name: rng.integers(0, 10, ROWS).astype("int32") for name in ("left", "right")}
    weights = {name: np.ones(ROWS, "float32") for name in labels}
    part = tf.data.Dataset.from_tensor_slices((pictures, labels, weights)).batch(ROWS)
    tasks = [Item(name, 10, metrics=["accuracy"]) for name in labels]
    return data.Loaded(part, part, part, tasks, keras.Input(shape), None)


def multi_fashion(recipe):
    fashion = some_fashion(SHAPE)
    builders = {name: functools.partial(recipe.build, a) for name, a in recipe.chosen().items()}
    recipe.over_seeds(lambda seed: fashion, builders, seeds=1, epochs=1, learning_rate=0.01)


def ensemble_fusion(recipe):
    fashion = some_fashion(recipe.SHAPE)
    members = [recipe.build(fashion, f"start_{i}") for i in range(2)]
    for fusion in recipe.fusions().values():
        recipe.fused(members, fusion, fashion.valid)


def scene_understanding(recipe):
    from test_scene_understanding import some_frames

    recipe.data.load = lambda *_, **__: some_frames()
    for decoder in ("shared", "aspp"):
        flags.FLAGS.decoder = decoder
        recipe.train_all(recipe.load(), lambda run: None)


def stamp_scenes(recipe):
    from test_recipe_stamp_scenes import some_scenes

    recipe.data.load = lambda *_, **__: some_scenes()
    recipe.train_all(lambda run: None)


def stamp_fusion(recipe):
    from test_stamp_fusion import some_stamps

    division = some_stamps()
    for name, setting in recipe.settings().items():
        list(recipe.train_all(name, setting, [division], Progress(1, 1)))


def image_transfer(recipe):
    from test_image_transfer import some_pictures

    from mtlzoo.backbones import EfficientNetLite0

    recipe.data.load = lambda *_, **__: some_pictures()
    recipe.trunk = lambda shape, random=False: EfficientNetLite0(
        shape, (1, 2), (3, 4), stem_filters=3, head_filters=4, max_pixel=1.0
    )
    tasks, pictures = recipe.load(0)
    for name in recipe.LEARNING_RATES:
        seen = recipe.through_trunk(pictures) if name == "frozen" else pictures
        model = recipe.build(name, tasks, seen, 0)
        recipe.fit(model, name, seen, np.arange(ROWS), 0, Progress(1, 1))


def distribution(recipe):
    with tempfile.TemporaryDirectory() as folder:
        recipe.train(pathlib.Path(folder))


def synthetic_relatedness(recipe):
    for architecture in recipe.MODELS.values():
        recipe.train(recipe.compiled(architecture), 0.5, 0)


def task_scheduling(recipe):
    tasks = recipe.four_tasks
    mixture = data.mix({name: tasks.batches(name, 0, ROWS) for name in tasks.ROWS})
    recipe.compiled().fit(mixture.dataset)


def text_transfer(recipe):
    from test_text_transfer import stand_in

    stand_in(setattr)
    reader = recipe.preprocessor()
    sets = recipe.texts.load(0, None)
    rows = recipe.texts.train_rows(sets, reader), recipe.texts.test_rows(sets, reader, ROWS)
    for name in recipe.LEARNING_RATES:
        recipe.train(name, reader, *rows, 0)


def co_training(recipe):
    from test_co_training_recipe import some_stamps, some_trunk

    recipe.data.load = lambda _, **options: some_stamps(**options)
    recipe.pretrained.load = some_trunk
    stamps = recipe.co_training_stamps
    division = stamps.load(0, None)
    (features,) = stamps.pixels_to_features([division[0]["image"]], recipe.trunk())
    shapes = division[0]["caption"].shape[1:], features[False].shape[1:]
    models = recipe.build(division[2], *shapes, 0.01)
    recipe.train_all(models, stamps.arranged(division, features, "clean", ROWS, 0), 0)


def distillation(recipe):
    from test_distillation_recipe import some_pictures

    recipe.load = some_pictures
    teacher, _ = recipe.train_teacher(some_pictures(0), None)
    recipe.train_students(teacher, 0, None)


def detection_transfer(recipe):
    from test_detection_transfer import some_network, some_scenes

    recipe.data.load = lambda *_, **__: some_scenes()
    scenes = recipe.load(0, recipe.CLASSIFIER)
    classifier = recipe.HardSharing(
        scenes.inputs, scenes.tasks, backbone=recipe.trunk(scenes), name="category"
    )
    detection = recipe.load(0, recipe.DETECTOR)
    for taught in recipe.teachers(classifier, some_network(scenes)).values():
        model, detector = recipe.compiled(taught, detection, 0)
        model.fit(data.labels_of(detection.train, detector.task_names))


def explanations(recipe):
    import test_explanations as cases

    recipe.fashion.load = lambda *_: cases.some_clothes()
    data.load = lambda *_, **__: cases.some_stamps()
    recipe.main([])


def model_reading(recipe):
    census = data.load("census_income", batch_size=64)
    experts = {"expert_units": (32,), "tower_units": (32,), "dropout": 0.1}
    for make in (recipe.MMoE, recipe.PLE):
        recipe.train(make(census.inputs, census.tasks, **experts), census.train, 1)
    fashion = some_fashion(recipe.SHAPE)
    for make in (recipe.MTAN, recipe.CrossStitch):
        backbone = recipe.ConvNet(recipe.SHAPE, dense_units=recipe.UNITS)
        recipe.train(make(fashion.inputs, fashion.tasks, backbone=backbone), fashion.train, 1)


def simplification(recipe):
    census = recipe.load_census()
    recipe.start(recipe.mixture, census, Progress(1, 1))
    fashion = some_fashion(recipe.sparsity.SHAPE)
    recipe.start(recipe.sparsity.network, fashion, Progress(1, 1))


def task_relatedness(recipe):
    tasks, (x, y), _ = recipe.census_with_nothing("sample", None, rows=64)
    build = recipe.Networks(x.shape[1], tasks, units=32, learning_rate=1e-3, epochs=1)
    look(build(tuple(sorted(build.tasks))), x, y)


def training_health(recipe):
    for name, (planted, _) in recipe.faults().items():
        if name not in (recipe.SPOILED, "learning rate of 1"):  # whose models are among the others
            model, rows = planted.build(), recipe.Rows(planted, ROWS)
            recipe.compiled(model, planted).fit(rows.x, rows.y)


def training_report(recipe):
    census = data.load("census_income", batch_size=64)
    makers = [lambda: recipe.mixture(census), lambda: recipe.network(census, census.tasks[0])]
    for make, gated in zip(makers, (True, False), strict=True):
        model = recipe.compiled(make, 0, gated=gated)
        model.fit(data.labels_of(census.train, model.task_names))


RECIPES: dict[str, tuple[Callable, list[str]]] = {
    "quickstart": (quickstart, []),
    "quickstart, gated": (quickstart_gated, []),
    "census_income": (census_income, ["--seeds=1", "--epochs=1"]),
    "census_stream": (census_stream, []),
    "co_training": (co_training, ["--rounds=1"]),
    "detection_transfer": (detection_transfer, ["--widths=4,4,8"]),
    "distillation": (distillation, []),
    "distribution": (distribution, []),
    "dynamic_sharing": (dynamic_sharing, []),
    "image_transfer": (image_transfer, ["--batch_size=4"]),
    "ensemble_fusion": (ensemble_fusion, []),
    "model_reading": (model_reading, []),
    "explanations": (explanations, ["--epochs=1", "--stamp_epochs=1", "--explained=2"]),
    "multi_fashion": (multi_fashion, []),
    "scene_understanding": (
        scene_understanding,
        ["--widths=4,4,8", "--aspp_filters=4", "--aspp_rates=1,2"],
    ),
    "simplification": (simplification, ["--source=sample"]),
    "stamp_scenes": (stamp_scenes, ["--widths=4,4,8"]),
    "stamp_fusion": (stamp_fusion, []),
    "synthetic_relatedness": (synthetic_relatedness, ["--rows=256"]),
    "task_relatedness": (task_relatedness, []),
    "task_scheduling": (task_scheduling, []),
    "training_health": (training_health, []),
    "training_report": (training_report, []),
    "text_transfer": (text_transfer, ["--layers=1", "--batch_size=8"]),
}
# What is known not to run on TPUs, in some of a recipe's models: Keras's `RandomTranslation` of
# pictures inside the model, which there would have to move them in the input pipeline.
KNOWN = {"stamp_fusion": ["the operation ImageProjectiveTransformV3"]}
# Those that walk on formulas, without a model.
# Those without a model, or whose models are those of others.
WITHOUT_MODELS = {"make_presets", "rest_server", "toy_objectives", "tuning"}


def main(name: str) -> None:
    run, options = RECIPES[name]
    recipe = importlib.import_module(f"recipes.{name.partition(',')[0]}")
    flags.FLAGS(["recipe", *options])
    MultiTaskModel.fit, MultiTaskModel.evaluate = look, score
    run(recipe)
    print(json.dumps({"models": FOUND}))


if __name__ == "__main__":
    main(sys.argv[1])
