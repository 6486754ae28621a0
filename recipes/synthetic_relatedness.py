"""Do experts help where tasks are less related? The synthetic experiment of the paper on MMoE.

    python -m recipes.synthetic_relatedness --out=runs/synthetic_relatedness

Trains a shared bottom, a one-gate and a multi-gate mixture of experts of nearly equal size on two
regression tasks whose weight vectors have the cosine p, for several p and many seeds. Every seed
draws other data and other initial weights, the same for all three models. Prints the final losses
and whether the orderings of the paper appear, and draws its picture: the mean loss over steps.
With `--bottom_units=4 --bottom_units=113` it compares shared bottoms of these widths instead.

Ma et al., *Modeling Task Relationships in Multi-task Learning with Multi-gate
Mixture-of-Experts*, KDD 2018, sections 3.3 and 5.2. Sizes are the paper's (100 inputs, 8 experts of
16 units, towers of 8, a shared bottom of 113 units); its learning rates and numbers of steps are
not given, and were chosen here, see --help.
"""

import functools
import json
import time
from collections.abc import Callable

import keras
import numpy as np
from absl import flags

from mtlzoo import HardSharing, MMoE, MultiTaskModel, OMoE, Regression
from mtlzoo.data.synthetic_relatedness import generate
from recipes.parts import job, strategies
from recipes.parts import synthetic_relatedness_report as results
from recipes.parts.synthetic_relatedness_pictures import losses_over_steps
from recipes.parts.training import Restart

FLAGS = job.define_flags(
    out="runs/synthetic_relatedness",
    epochs=(30, "Epochs, after each of which is evaluated."),
    batch_size=128,
    learning_rate=3e-3,
)
flags.DEFINE_integer("seeds", 20, "Trainings of each model for each p.", lower_bound=2)
flags.DEFINE_multi_float(
    "correlation", [0.5, 0.9, 1.0], "The p to look at, of which the paper has these three."
)
flags.DEFINE_multi_integer(
    "bottom_units", [], "Train shared bottoms of these widths, instead of the three models."
)
flags.DEFINE_integer("rows", 25_600, "Training rows.", lower_bound=256)

TEST_ROWS = 5120
TOWER_UNITS = (8,)
EXPERTS = {"num_experts": 8, "expert_units": (16,), "tower_units": TOWER_UNITS}


def shared_bottom(inputs, tasks, width=113) -> MultiTaskModel:
    """One layer for both tasks."""
    return HardSharing(inputs, tasks, shared_units=(width,), tower_units=TOWER_UNITS)


MODELS: dict[str, Callable[..., MultiTaskModel]] = {
    "shared bottom": shared_bottom,
    "OMoE": functools.partial(OMoE, **EXPERTS),
    "MMoE": functools.partial(MMoE, **EXPERTS),
}


def main(_) -> None:
    out = job.begin()
    if FLAGS.bottom_units:
        units = {
            f"{n} units": functools.partial(shared_bottom, width=n) for n in FLAGS.bottom_units
        }
        report = results.compare_bottoms(train_all(units))
        (out / "bottoms.json").write_text(json.dumps(report, indent=2) + "\n")
        print(f"\nWritten to {out / 'bottoms.json'}")
        return
    curves = train_all(MODELS)
    report = {"parameters": {name: build(make).count_params() for name, make in MODELS.items()}}
    report |= results.summarize(curves)
    results.print_table(report)
    steps = -(-FLAGS.rows // FLAGS.batch_size) * np.arange(1, FLAGS.epochs + 1)
    losses_over_steps(out / "losses.png", curves, steps, "mean of both tasks' test losses")
    report["curves"] = {
        f"{name}, p={p}": np.mean(runs, axis=0).tolist() for (name, p), runs in curves.items()
    }
    job.end(out, report, "losses.png")


def train_all(models: dict[str, Callable]) -> dict[tuple[str, float], np.ndarray]:
    """By model and p, the test losses `(seeds, epochs)`, each the mean over both tasks."""
    curves = {}
    for name, architecture in models.items():
        model = compiled(architecture)
        restart = Restart(model)
        started = time.perf_counter()
        for p in FLAGS.correlation:
            runs = []
            for seed in range(FLAGS.seeds):
                # A new model would be traced and compiled anew: this one begins again instead.
                keras.utils.set_random_seed(seed)
                restart.begin(build(architecture))
                runs.append(train(model, p, seed))
            curves[name, p] = np.array(runs)
        seconds = time.perf_counter() - started
        print(f"{name}: {len(FLAGS.correlation) * FLAGS.seeds} trainings in {seconds:.0f} s")
    return curves


def build(architecture: Callable[..., MultiTaskModel]) -> MultiTaskModel:
    """A new model."""
    inputs = keras.Input((100,), name="features")
    return architecture(inputs, [Regression("first"), Regression("second")])


def compiled(architecture: Callable[..., MultiTaskModel]) -> MultiTaskModel:
    """A new model, ready for `fit`."""
    with strategies.scope():
        model = build(architecture)
        model.compile(
            keras.optimizers.Adam(FLAGS.learning_rate),
            metrics={"first": [], "second": []},
            jit_compile=strategies.replicas() == 1,
            steps_per_execution=FLAGS.rows // FLAGS.batch_size,
        )
    return model


def train(model: MultiTaskModel, p: float, seed: int) -> list[float]:
    """Train once; the test loss after each epoch."""
    x, y = generate(FLAGS.rows, p, [seed, 1], [seed, 0])
    logs = model.fit(
        x,
        y,
        batch_size=FLAGS.batch_size,
        epochs=FLAGS.epochs,
        validation_data=generate(TEST_ROWS, p, [seed, 2], [seed, 0]),
        validation_batch_size=TEST_ROWS,
        verbose=0,
    ).history
    return (np.array(logs["val_loss"]) / 2).tolist()


if __name__ == "__main__":
    strategies.run(main)
