"""Classify, segment, detect and count in one picture, with one network?

    python -m mtlzoo.data stamp_scenes --download   # once: 160.9 and 13.7 MB
    python -m recipes.stamp_scenes --out=runs/stamp_scenes

Trains one network per task, hard parameter sharing, MTAN and cross-stitch networks on scenes of one
to four cut-out photographs on photographs: which category the largest object has, the category of
every pixel, boxes with categories, and how many objects there are. All read the same small dilated
residual network. The validation data chooses each model's epoch; the test data is read once, at the
end. Prints a table and draws what each kind of model says about the first test scenes.
"""

import functools
import pathlib
from collections.abc import Callable

from absl import flags, logging

from mtlzoo import MTAN, CrossStitch, HardSharing, MultiTaskModel, Task, data
from mtlzoo.data.stamp_scenes.material import CATEGORIES
from recipes.parts import job, scene_pictures, strategies
from recipes.parts import scenes as scene_data
from recipes.parts.comparison import Run, over_seeds
from recipes.parts.tables import print_table

FLAGS = job.define_flags(
    out="runs/stamp_scenes",
    data_dir=(None, "Where prepared data is kept."),
    epochs=5,
    seeds=1,
    batch_size=(16, "Scenes in a batch."),
    learning_rate=2e-3,
    balancer="equal",
)
flags.DEFINE_integer("scenes", 3000, "Training scenes.", lower_bound=6)
flags.DEFINE_list("widths", ["16", "24", "48"], "Channels of the three stages.")

ARCHITECTURES: dict[str, type[MultiTaskModel]] = {
    "hard sharing": HardSharing,
    "MTAN": MTAN,
    "cross-stitch": CrossStitch,
}
DRAWN = 6  # test scenes


def main(_) -> None:
    out = job.begin(logging.ERROR)
    report = train_all(lambda run: draw(out, run))
    print_table(report)
    print("\nOn the test data (single tasks: one network for each, parameters and time summed)")
    job.end(out, report, *sorted(path.name for path in out.glob("*.png")))


def load(seed: int) -> data.Loaded:
    """The scenes, the same for every seed, in another order."""
    return scene_data.load(seed, FLAGS.scenes, FLAGS.batch_size, FLAGS.data_dir)


def single_task(scenes: data.Loaded, task: Task) -> MultiTaskModel:
    """The network of one task."""
    name = f"single_task_{task.name}"
    trunk = scene_data.trunk(scenes, FLAGS.widths)
    return HardSharing(scenes.inputs, [task], backbone=trunk, name=name)


def build(architecture: type[MultiTaskModel], scenes: data.Loaded) -> MultiTaskModel:
    """The network of all tasks."""
    trunk = scene_data.trunk(scenes, FLAGS.widths)
    return architecture(scenes.inputs, scenes.tasks, backbone=trunk)


def train_all(after: Callable[[Run], None]) -> dict[str, dict]:
    """The report on single tasks and all architectures; `after` is called after each training."""
    return over_seeds(
        load,
        {name: functools.partial(build, make) for name, make in ARCHITECTURES.items()},
        single=single_task,
        seeds=FLAGS.seeds,
        epochs=FLAGS.epochs,
        learning_rate=FLAGS.learning_rate,
        balancer=FLAGS.balancer,
        after=after,
    )


def draw(out: pathlib.Path, run: Run) -> None:
    """Draw what is true of the first test scenes, and what the first seed's models answer."""
    if run.seed == 0:
        answers = scene_pictures.answers(run.models, run.loaded, DRAWN)
        path = out / f"{run.name.replace(' ', '_')}.png"
        scene_pictures.scenes(path, run.name, *answers, CATEGORIES)


if __name__ == "__main__":
    strategies.run(main)
