"""Search for architecture, sharing and balancer of three tasks at once, with KerasTuner.

    python -m recipes.tuning --trials=12 --out=runs/tuning

Trains one network per task on the embedded sample of the Census-Income data, then searches among
hard sharing, MMoE and PLE, how much of them is shared, balancers and learning rates for the
greatest `delta_m` over these networks on the validation data. With `--least=income=0.93` it is
instead the best `education` among the trials whose AUC of `income` reaches 0.93. Prints all trials,
draws those that no other one beats, and reads the test data once, with the best model.
"""

import time

import keras
import keras_tuner
from absl import flags, logging

from mtlzoo import PLE, HardSharing, MMoE, MultiTaskModel, data
from mtlzoo.metrics import delta_m
from mtlzoo.tasks import Task
from mtlzoo.tuning import MultiTaskHyperModel, MultiTaskObjective, pareto_front
from recipes.parts import job, strategies
from recipes.parts.comparison import to_best_epoch
from recipes.parts.tables import print_aligned

FLAGS = job.define_flags(out="runs/tuning", epochs=4, batch_size=256, seed=0)
flags.DEFINE_integer("trials", 12, "Models that are tried.", lower_bound=1)
flags.DEFINE_list("least", None, "Limits: TASK=NUMBER,... that a trial should reach.")
flags.DEFINE_string("target", "education", "The task that counts, with --least.")

LEARNING_RATE = 1e-3  # of the single-task networks
LAYERS = {"tower_units": (32,), "dropout": 0.3}
# Lists are what is chosen from. The first layer of each network has 128 units or 256.
SPACE = {
    HardSharing: {"shared_units": [(128,), (256,), (128, 64)], **LAYERS},
    MMoE: {"num_experts": [4, 8], "expert_units": (32,), **LAYERS},
    PLE: {
        "num_levels": 1,
        "num_shared_experts": [1, 2, 4],
        "num_task_experts": [1, 2],
        "expert_units": (32,),
        **LAYERS,
    },
}
BALANCERS = ["equal", "uncertainty", "pcgrad", "cagrad"]


def main(_) -> None:
    out = job.begin(logging.ERROR)  # TensorFlow warns of the tracing of several models
    started = time.perf_counter()
    census = data.load("census_income", batch_size=FLAGS.batch_size, seed=FLAGS.seed)
    singles = [single_task(census, task) for task in census.tasks]
    valid, test = (scores(singles, part) for part in (census.valid, census.test))
    shown = ", ".join(f"{name} {value:.4f}" for name, value in valid.items())
    print(f"single tasks, validation: {shown} ({time.perf_counter() - started:.0f} s)")

    tuner = keras_tuner.RandomSearch(
        MultiTaskHyperModel(census.inputs, census.tasks, SPACE, balancers=BALANCERS),
        objective(census.tasks, valid),
        max_trials=FLAGS.trials,
        seed=FLAGS.seed,
        directory=out,
        project_name="search",
        overwrite=True,
    )
    tuner.search(
        census.train,
        validation_data=census.valid,
        epochs=FLAGS.epochs,
        shuffle=False,  # the data set reshuffles itself
        verbose=0,
    )
    front = pareto_front(tuner, census.tasks)
    front.figure().savefig(out / "pareto_front.png")
    rows = front.rows()
    print(f"\n{FLAGS.trials} trials ({time.perf_counter() - started:.0f} s)")
    print_aligned([[row[0], *row[1:-1], f"  {row[-1]}"] for row in rows])
    print(f"\n{front.words()}")

    best = tuner.get_best_models()[0]
    found = scores([best], census.test)
    gain = delta_m(found, test, census.tasks)
    shown = ", ".join(f"{name} {value:.4f} ({test[name]:.4f})" for name, value in found.items())
    print(f"\nTest data, the best trial (single tasks): {shown}; delta_m {gain:+.2f} %")
    best.save(out / "best.keras")
    report = {"trials": rows, "best": found, "single_tasks": test, "delta_m": gain}
    job.end(out, report, "pareto_front.png", "best.keras", "search/")


def objective(tasks: list[Task], baselines: dict[str, float]) -> MultiTaskObjective:
    """`delta_m`, or one task within limits of others."""
    if not FLAGS.least:
        return MultiTaskObjective(tasks, baselines=baselines)
    limits = {name: float(limit) for name, _, limit in (p.partition("=") for p in FLAGS.least)}
    return MultiTaskObjective(tasks, target=FLAGS.target, constraints=limits)


def single_task(census: data.Loaded, task: Task) -> MultiTaskModel:
    """The network of one task, at its best epoch."""
    keras.utils.set_random_seed(FLAGS.seed)
    name = f"single_task_{task.name}"
    model = HardSharing(census.inputs, [task], shared_units=(128,), name=name, **LAYERS)
    model.compile(keras.optimizers.Adam(LEARNING_RATE))
    to_best_epoch(model, census, FLAGS.epochs)
    return model


def scores(models: list[MultiTaskModel], part) -> dict[str, float]:
    """The deciding metrics of all tasks of some models."""
    found = {}
    for model in models:
        logs = model.evaluate(data.labels_of(part, model.task_names), return_dict=True, verbose=0)
        found |= {name: logs[f"{name}_{task.monitor}"] for name, task in model.tasks.items()}
    return found


if __name__ == "__main__":
    strategies.run_on_one(main)
