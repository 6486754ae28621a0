"""What a TPU would make of a recipe's steps: `python -m conformance.recipe_steps NAME`.

A process for each recipe, since all define flags of the same names. Its own code makes and compiles
the models, from few generated rows; where it would train one, one batch of static shapes is taken,
and the step is looked at instead. Each prints a line of JSON: what could not run on a TPU.
"""

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
from recipes.fashion import Item
from recipes.training import Progress

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
    recipe.train_all(census, 10, "pcgrad")


def census_stream(recipe):
    """The training before the stream; each way of learning from it takes the same step."""
    pool, test, tasks = recipe.load()
    recipe.ways = lambda tasks: {}
    recipe.learn(recipe.make("years", pool, test, 0), tasks, 0)


def dynamic_sharing(recipe):
    census = data.load("census_income", batch_size=64)
    for name, sharing in recipe.settings(10).items():
        recipe.comparison.train(
            lambda name=name, sharing=sharing: recipe.build(name, sharing, census),
            census,
            epochs=1,
            learning_rate=0.01,
            seed=0,
            balancer="pcgrad",
        )


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
    fashion = some_fashion(recipe.SHAPE)
    for architecture in recipe.ARCHITECTURES:
        recipe.comparison.train(
            lambda a=architecture: recipe.build(a, fashion.inputs, fashion.tasks),
            fashion,
            epochs=1,
            learning_rate=0.01,
            seed=0,
        )


def ensemble_fusion(recipe):
    loaded = some_fashion(recipe.SHAPE)
    fashion = recipe.Fashion(loaded, loaded.valid)
    members = [recipe.build(fashion, f"start_{i}") for i in range(2)]
    for fusion in recipe.fusions().values():
        recipe.fused(members, fusion, fashion)


def scene_understanding(recipe):
    from test_scene_understanding import some_frames

    recipe.data.load = lambda *_, **__: some_frames()
    for decoder in ("shared", "aspp"):
        flags.FLAGS.decoder = decoder
        scenes = recipe.load()
        for architecture in recipe.ARCHITECTURES.values():
            recipe.train(
                lambda a=architecture, s=scenes: a(s.inputs, s.tasks, backbone=recipe.backbone(s)),
                scenes,
                epochs=1,
                learning_rate=0.01,
                seed=0,
            )


def stamp_scenes(recipe):
    from test_recipe_stamp_scenes import some_scenes

    recipe.data.load = lambda *_, **__: some_scenes()
    recipe.train_all(recipe.load(0), 0, Progress(1, 1))


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
    mixture = data.mix({name: recipe.batches(name, 0) for name in recipe.ROWS})
    recipe.compiled().fit(mixture.dataset)


def text_transfer(recipe):
    from test_text_transfer import stand_in

    stand_in(setattr)
    reader = recipe.preprocessor()
    sets = recipe.load(0)
    for name in recipe.LEARNING_RATES:
        recipe.train(name, reader, sets, 0)


def co_training(recipe):
    from test_co_training_recipe import some_stamps, some_trunk

    recipe.data.load = lambda _, **options: some_stamps(**options)
    recipe.pretrained.load = some_trunk
    division = recipe.load(0)
    features = recipe.pixels_to_features([division[0]["image"]])[0]
    shapes = division[0]["caption"].shape[1:], features[False].shape[1:]
    models = recipe.build(division[2], *shapes)
    recipe.train_all(models, recipe.arranged(division, features, "clean", 0), 0)


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
    for name, taught in recipe.teachers(classifier, some_network(scenes)).items():
        recipe.train_detector(name, taught, detection, 0, None)


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
    recipe.start(lambda: recipe.mixture(census), census, Progress(1, 1))
    fashion = some_fashion(recipe.SHAPE)
    recipe.start(lambda: recipe.hard_sharing(fashion), fashion, Progress(1, 1))


def task_relatedness(recipe):
    build, (x, y), _ = recipe.load()
    look(build(tuple(sorted(build.tasks))), x, y)


def training_health(recipe):
    for name, (planted, _) in recipe.faults().items():
        if name not in (recipe.SPOILED, "learning rate of 1"):  # whose models are among the others
            model, rows = planted.build(), recipe.Rows(planted)
            recipe.compiled(model, planted).fit(rows.x, rows.y)


def training_report(recipe):
    census = data.load("census_income", batch_size=64)
    makers = [lambda: recipe.mixture(census), lambda: recipe.network(census, census.tasks[0])]
    for make, gated in zip(makers, (True, False), strict=True):
        model = recipe.compiled(make, 0, gated=gated)
        model.fit(recipe.labels_of(model, census.train))


RECIPES: dict[str, tuple[Callable, list[str]]] = {
    "quickstart": (quickstart, []),
    "quickstart, gated": (quickstart_gated, []),
    "census_income": (census_income, ["--seeds=1", "--epochs=1"]),
    "census_stream": (census_stream, ["--source=sample", "--before=64", "--rows=64", "--test=16"]),
    "co_training": (co_training, ["--labelled=16", "--rounds=1"]),
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
    "task_relatedness": (task_relatedness, ["--source=sample"]),
    "task_scheduling": (task_scheduling, []),
    "training_health": (training_health, []),
    "training_report": (training_report, []),
    "text_transfer": (text_transfer, ["--layers=1", "--batch_size=8"]),
}
# What is known not to run on TPUs, in some of a recipe's models: Keras's `RandomTranslation` of
# pictures inside the model, which there would have to move them in the input pipeline.
KNOWN = {"stamp_fusion": ["the operation ImageProjectiveTransformV3"]}
# Those that walk on formulas, without a model.
WITHOUT_MODELS = {"toy_objectives"}


def main(name: str) -> None:
    run, options = RECIPES[name]
    recipe = importlib.import_module(f"recipes.{name.partition(',')[0]}")
    flags.FLAGS(["recipe", *options])
    MultiTaskModel.fit, MultiTaskModel.evaluate = look, score
    run(recipe)
    print(json.dumps({"models": FOUND}))


if __name__ == "__main__":
    main(sys.argv[1])
