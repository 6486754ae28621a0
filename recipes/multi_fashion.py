"""Every architecture that fits, on two pieces of clothing in one picture.

    python -m mtlzoo.data multi_fashion --download
    python -m recipes.multi_fashion --out=runs/multi_fashion
    python -m recipes.multi_fashion --balancer=all --seeds=5 --out=runs/fashion_balancers

Trains one network for each task and all architectures of the zoo on Multi-Fashion, with the same
convolutions, optimizer and number of steps, and tasks weighted equally. Where an architecture has
experts or columns, the trunk is there once for each of them; sub-networks of SNR take the place of
its fully connected layer. The validation data chooses each model's epoch. Prints the accuracies
on the test data, parameters, training time, `delta_m` against the single tasks, and what the models
let one read; draws accuracy over parameters, and a few pictures with the answers of one model.

With `--balancer=all`, or several names, it compares balancers instead of architectures: one
architecture, `HardSharing` or that of `--models`, with each balancer, beside single tasks and fixed
weights that the validation data chose. One name is the balancer of all multi-task models.
"""

import functools
from collections.abc import Callable
from typing import Any

from absl import flags

import mtlzoo as zoo
from mtlzoo import data
from recipes.parts import balancer_report, balancers, job, plots, strategies, tables
from recipes.parts import fashion as fashion_data
from recipes.parts.comparison import Run, over_seeds
from recipes.parts.fashion import UNITS, convolutions, tokens, trunk
from recipes.parts.multi_fashion_report import draw_answers, print_readings

FLAGS = job.define_flags(
    out="runs/multi_fashion",
    data_dir=None,
    epochs=3,
    seeds=1,
    batch_size=64,
    learning_rate=2e-3,
)
flags.DEFINE_integer(
    "rows", 16_000, "Training pairs in an epoch, drawn anew for each from all 54,000."
)
flags.DEFINE_list(
    "models", None, "Architectures. Defaults to all that fit; of balancers, to HardSharing."
)
flags.DEFINE_list("balancer", [balancers.EQUAL], balancers.FLAG_HELP)

# Which network each is drawn with, as which argument, and its other arguments, where the defaults
# are not used.
BACKBONE, EXPERT = "backbone", "expert_network"
_EXPERTS = {"num_experts": 4, "tower_units": ()}
_CGC = {"num_levels": 1, "num_shared_experts": 2, "num_task_experts": 1, "tower_units": ()}
ARCHITECTURES: dict[type, tuple[str, Callable[[], Any], dict[str, Any]]] = {
    zoo.HardSharing: (BACKBONE, trunk, {}),
    zoo.SoftSharing: (BACKBONE, trunk, {}),
    zoo.CrossStitch: (BACKBONE, trunk, {}),
    zoo.Sluice: (BACKBONE, trunk, {}),
    zoo.NDDR: (BACKBONE, trunk, {}),
    zoo.MMoE: (EXPERT, trunk, _EXPERTS),
    zoo.OMoE: (EXPERT, trunk, _EXPERTS),
    zoo.PLE: (EXPERT, trunk, _CGC),
    zoo.SNR: (BACKBONE, convolutions, {"subnetwork_units": UNITS * 2, "tower_units": ()}),
    zoo.MTAN: (BACKBONE, trunk, {}),
    zoo.TaskQueryAttention: (BACKBONE, tokens, {"tower_units": UNITS}),
    zoo.LearningToBranch: (BACKBONE, trunk, {}),
    zoo.DynamicSharing: (BACKBONE, trunk, {}),
    zoo.AdapterSharing: (BACKBONE, trunk, {}),
}
NOT_HERE = {
    zoo.AITM: "neither item comes before the other, so that there is no sequence to hand on along",
    zoo.DBMTLNet: "the items are drawn independently, and without relations it is HardSharing",
    zoo.ESMM: "needs the yes/no steps of a funnel",
    zoo.CrossModalFusion: "needs several modalities, and there is one picture",
}


def main(_) -> None:
    out = job.begin()
    names = balancers.named(FLAGS.balancer)
    if len(names) == 1:
        runs: dict[str, Run] = {}  # of the first seed
        report = over_seeds(
            load,
            {name: functools.partial(build, kind) for name, kind in chosen().items()},
            single=single_task,
            balancer=names[0],
            after=lambda run: runs.setdefault(run.name, run),
            **settings(),
        )
        tables.print_table(report)
        print("\nNot here:")
        for architecture, reason in NOT_HERE.items():
            print(f"  {architecture.__name__}: {reason}")
        x, labels, _ = next(iter(runs.pop(tables.SINGLE).loaded.test.unbatch().batch(1000)))
        models = {name: run.model for name, run in runs.items()}
        print_readings(models, x)
        plots.metrics_over_parameters(out / "accuracy.png", report)
        draw_answers(out / "answers.png", *next(iter(models.items())), x[:6], labels)
        pictures = ["accuracy.png", "answers.png"]
    else:
        architecture = balancers.the_one(FLAGS.models, chosen(), "HardSharing")
        make = functools.partial(build, architecture)
        found = balancers.train_all(names, load, single_task, make, **settings())
        report, pictures = balancer_report.compare(out, found), ["balancers.png"]
    job.end(out, report, *pictures)


def chosen() -> dict[str, type]:
    """The architectures of `--models`, by name."""
    found = {a.__name__: a for a in ARCHITECTURES}
    return {name: found[name] for name in FLAGS.models or found}


def settings() -> dict[str, Any]:
    """How all models are trained."""
    names = ("seeds", "epochs", "learning_rate")
    return {name: FLAGS[name].value for name in names}


def load(seed: int) -> data.Loaded:
    """The data, with epochs of `--rows` pairs."""
    return fashion_data.load(seed, FLAGS.batch_size, FLAGS.rows, FLAGS.data_dir)


def single_task(fashion: data.Loaded, task: zoo.Task) -> zoo.MultiTaskModel:
    """The network of one task."""
    name = f"single_task_{task.name}"
    return zoo.HardSharing(fashion.inputs, [task], backbone=trunk(), name=name)


def build(architecture: type, fashion: data.Loaded, name: str | None = None) -> zoo.MultiTaskModel:
    """A new model, with new variables, named as its architecture unless it is given a name."""
    argument, network, arguments = ARCHITECTURES[architecture]
    drawn = {argument: network(), **arguments}
    name = name or architecture.__name__
    return architecture(fashion.inputs, fashion.tasks, name=name, **drawn)


if __name__ == "__main__":
    strategies.run(main)
