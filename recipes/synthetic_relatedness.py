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
import pathlib
import time
from collections.abc import Callable

import keras
import numpy as np
from absl import flags, logging

from mtlzoo import HardSharing, MMoE, MultiTaskModel, OMoE, Regression
from mtlzoo.data.synthetic_relatedness import generate
from recipes import plots, strategies
from recipes.training import print_aligned

_OUT = flags.DEFINE_string("out", "runs/synthetic_relatedness", "Folder to write to.")
_SEEDS = flags.DEFINE_integer("seeds", 20, "Trainings of each model for each p.", lower_bound=2)
_CORRELATIONS = flags.DEFINE_multi_float(
    "correlation", [0.5, 0.9, 1.0], "The p to look at, of which the paper has these three."
)
_BOTTOM_UNITS = flags.DEFINE_multi_integer(
    "bottom_units", [], "Train shared bottoms of these widths, instead of the three models."
)
_EPOCHS = flags.DEFINE_integer("epochs", 30, "Epochs, after each of which is evaluated.")
_ROWS = flags.DEFINE_integer("rows", 25_600, "Training rows.", lower_bound=256)
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 128, "Rows in a batch.", lower_bound=1)
_LEARNING_RATE = flags.DEFINE_float("learning_rate", 3e-3, "Adam's learning rate.")

TEST_ROWS = 5120
TOWER_UNITS = (8,)


def shared_bottom(inputs, tasks, width=113) -> MultiTaskModel:
    """One layer for both tasks."""
    return HardSharing(inputs, tasks, shared_units=(width,), tower_units=TOWER_UNITS)


MODELS: dict[str, Callable[..., MultiTaskModel]] = {
    "shared bottom": shared_bottom,
    "OMoE": lambda inputs, tasks: OMoE(
        inputs, tasks, num_experts=8, expert_units=(16,), tower_units=TOWER_UNITS
    ),
    "MMoE": lambda inputs, tasks: MMoE(
        inputs, tasks, num_experts=8, expert_units=(16,), tower_units=TOWER_UNITS
    ),
}


def main(_) -> None:
    logging.set_verbosity(logging.WARNING)
    out = pathlib.Path(_OUT.value)
    out.mkdir(parents=True, exist_ok=True)
    if _BOTTOM_UNITS.value:
        compare_bottoms(out / "bottoms.json")
        return
    curves = train_all(MODELS)
    report = summarize(curves)
    print_table(report)
    plots.losses_over_steps(
        out / "losses.png", curves, steps_of_epochs(), "mean of both tasks' test losses"
    )
    report["curves"] = {
        f"{name}, p={p}": np.mean(runs, axis=0).tolist() for (name, p), runs in curves.items()
    }
    (out / "results.json").write_text(json.dumps(report, indent=2) + "\n")
    print(f"\nWritten to {out}: losses.png, results.json")


# --- Train -------------------------------------------------------------------------------------


def train_all(models: dict[str, Callable]) -> dict[tuple[str, float], np.ndarray]:
    """By model and p, the test losses `(seeds, epochs)`, each the mean over both tasks."""
    curves = {}
    for name, architecture in models.items():
        model = compiled(architecture)
        start = [keras.ops.convert_to_numpy(v) for v in model.optimizer.variables]
        started = time.perf_counter()
        for p in _CORRELATIONS.value:
            runs = []
            for seed in range(_SEEDS.value):
                # A new model would be traced and compiled anew: this one begins again instead.
                keras.utils.set_random_seed(seed)
                begin(model.trained_variables, build(architecture).trained_variables)
                begin(model.optimizer.variables, start)
                runs.append(train(model, p, seed))
            curves[name, p] = np.array(runs)
        seconds = time.perf_counter() - started
        print(f"{name}: {len(_CORRELATIONS.value) * _SEEDS.value} trainings in {seconds:.0f} s")
    return curves


def begin(variables: list, values: list) -> None:
    """Give variables the values that they begin with."""
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def build(architecture: Callable[..., MultiTaskModel]) -> MultiTaskModel:
    """A new model."""
    inputs = keras.Input((100,), name="features")
    return architecture(inputs, [Regression("first"), Regression("second")])


def compiled(architecture: Callable[..., MultiTaskModel]) -> MultiTaskModel:
    """A new model, ready for `fit`."""
    with strategies.scope():
        model = build(architecture)
        model.compile(
            keras.optimizers.Adam(_LEARNING_RATE.value),
            metrics={"first": [], "second": []},
            jit_compile=strategies.replicas() == 1,
            steps_per_execution=_ROWS.value // _BATCH_SIZE.value,
        )
    return model


def train(model: MultiTaskModel, p: float, seed: int) -> list[float]:
    """Train once; the test loss after each epoch."""
    x, y = generate(_ROWS.value, p, [seed, 1], [seed, 0])
    logs = model.fit(
        x,
        y,
        batch_size=_BATCH_SIZE.value,
        epochs=_EPOCHS.value,
        validation_data=generate(TEST_ROWS, p, [seed, 2], [seed, 0]),
        validation_batch_size=TEST_ROWS,
        verbose=0,
    ).history
    return (np.array(logs["val_loss"]) / 2).tolist()


def steps_of_epochs() -> list[int]:
    """The number of steps after each epoch."""
    steps = -(-_ROWS.value // _BATCH_SIZE.value)
    return [steps * (epoch + 1) for epoch in range(_EPOCHS.value)]


# --- Compare -----------------------------------------------------------------------------------


def final_losses(curves: dict[tuple[str, float], np.ndarray]) -> dict:
    """By model and p, the last loss of each seed."""
    return {key: runs[:, -1] for key, runs in curves.items()}


def summarize(curves: dict[tuple[str, float], np.ndarray]) -> dict:
    """The mean and the spread over seeds of the final losses, and the paper's orderings."""
    finals = final_losses(curves)
    report: dict = {
        "parameters": {name: build(MODELS[name]).count_params() for name in MODELS},
        "final": _means(finals),
    }
    low, high = min(_CORRELATIONS.value), max(_CORRELATIONS.value)
    bottom, one, many = ({p: finals[name, p] for p in (low, high)} for name in MODELS)
    report["orderings"] = {
        f"MMoE <= OMoE at p={low}": _paired(one[low] - many[low]),
        f"OMoE < shared bottom at p={low}": _paired(bottom[low] - one[low]),
        f"MMoE changes less from p={high} to p={low} than shared bottom": _paired(
            (bottom[low] - bottom[high]) - (many[low] - many[high])
        ),
        f"shared bottom spreads more over seeds than MMoE at p={low}": {
            "holds": "yes" if bottom[low].std() > many[low].std() else "no",
            "std": [float(bottom[low].std(ddof=1)), float(many[low].std(ddof=1))],
        },
    }
    return report


def _means(finals: dict[tuple[str, float], np.ndarray]) -> dict[str, dict]:
    """By model and p, mean and standard deviation over the seeds."""
    found: dict[str, dict] = {}
    for (name, p), values in finals.items():
        spread = {"mean": float(values.mean()), "std": float(values.std(ddof=1))}
        found.setdefault(name, {})[str(p)] = spread
    return found


def _paired(differences: np.ndarray) -> dict:
    """The mean of differences seed by seed, and whether it is above two standard errors."""
    error = float(differences.std(ddof=1) / np.sqrt(len(differences)))
    mean = float(differences.mean())
    holds = "even" if abs(mean) <= 2 * error else "yes" if mean > 0 else "no"
    return {"holds": holds, "mean": mean, "standard_error": error}


def compare_bottoms(path: pathlib.Path) -> None:
    """Train shared bottoms of some widths, and print by how much a lower p raises their loss."""
    bottoms = {f"{n} units": functools.partial(shared_bottom, width=n) for n in _BOTTOM_UNITS.value}
    finals = final_losses(train_all(bottoms))
    means = _means(finals)
    print()
    print_aligned(_rows(means))
    print()
    low, high = min(_CORRELATIONS.value), max(_CORRELATIONS.value)
    report = {}
    for name in bottoms:
        report[name] = _paired(finals[name, low] - finals[name, high])
        print(f"{name}, loss at p={low} less that at p={high}: {_as_text(report[name])}")
    path.write_text(json.dumps({"final": means, "differences": report}, indent=2) + "\n")
    print(f"\nWritten to {path}")


def _rows(means: dict[str, dict]) -> list[list[str]]:
    """A table of final losses."""
    ps = [str(p) for p in _CORRELATIONS.value]
    rows = [["final test loss, mean ± std", *(f"p = {p}" for p in ps)]]
    for name, spreads in means.items():
        rows.append([name, *(f"{spreads[p]['mean']:.3f} ± {spreads[p]['std']:.3f}" for p in ps)])
    return rows


def _as_text(paired: dict) -> str:
    """A mean difference with its standard error."""
    return f"{paired['mean']:+.4f} ± {paired['standard_error']:.4f}, paired over seeds"


def print_table(report: dict) -> None:
    """Print the final losses, and the orderings one by one."""
    head, *rows = _rows(report["final"])
    counts = [f"{count:,}" for count in report["parameters"].values()]
    print()
    print_aligned([[*head, "parameters"], *([*r, n] for r, n in zip(rows, counts, strict=True))])
    print()
    for ordering, found in report["orderings"].items():
        if "mean" in found:
            numbers = _as_text(found)
        else:
            numbers = "standard deviations {:.4f} and {:.4f}".format(*found["std"])
        print(f"{found['holds']:<5} {ordering}: {numbers}")


if __name__ == "__main__":
    strategies.run(main)
