"""What recipes run on: `--strategy` and what belongs to it, the same for all that have it.

    python -m recipes.quickstart --strategy=mirrored --devices=CPU:0,CPU:1

Batch sizes are those of all replicas together. Of several workers, all of which run the same
command, the first one prints and writes.
"""

import contextlib
import functools
import os
import tempfile
from collections.abc import Callable
from typing import Any

import tensorflow as tf
from absl import app, flags

from mtlzoo import distribution

_STRATEGY = flags.DEFINE_enum(
    "strategy", "auto", ["auto", *distribution.strategy_names()],
    "What to train on; auto: the workers of TF_CONFIG if there are several, else one device.",
)  # fmt: skip
_DEVICES = flags.DEFINE_list(
    "devices", None, "Those of --strategy=mirrored, such as CPU:0,CPU:1. Defaults to all GPUs."
)
_TPU = flags.DEFINE_string("tpu", None, "Name or address of the TPU of --strategy=tpu.")


_chosen: list[tf.distribute.Strategy] = []


def run(main: Callable[[Any], None]) -> None:
    """Run a recipe's `main`, whose models are trained on the strategy that its flags name."""
    app.run(functools.partial(on_chosen, main))


def run_on_one(main: Callable[[Any], None]) -> None:
    """Run the `main` of a recipe that trains on one device alone, and refuse other strategies."""
    app.run(functools.partial(on_one, main))


def on_one(main: Callable[[Any], None], argv: Any) -> None:
    """Call `main` when flags are parsed, unless they name several devices."""
    if _STRATEGY.value not in ("auto", "one") or _DEVICES.value or _TPU.value:
        raise app.UsageError(
            "`--strategy` should be auto or one, without devices: this recipe trains on one "
            f"device. Received: --strategy={_STRATEGY.value}"
        )
    main(argv)


def on_chosen(main: Callable[[Any], None], argv: Any) -> None:
    """Call `main` when flags are parsed, with the strategy that they name.

    Of several workers, all but the first are silent and write to a folder that is then removed.
    They do the same otherwise, since some of it needs all workers.
    """
    strategy = distribution.strategy(_STRATEGY.value, devices=_DEVICES.value, tpu=_TPU.value)
    _chosen[:] = [strategy]
    with contextlib.ExitStack() as stack:
        if not distribution.is_chief(strategy):
            silence = stack.enter_context(open(os.devnull, "w"))
            stack.enter_context(contextlib.redirect_stdout(silence))
            if "out" in flags.FLAGS:
                flags.FLAGS.out = stack.enter_context(tempfile.TemporaryDirectory())
        main(argv)


def scope() -> contextlib.AbstractContextManager:
    """That in which models are made and compiled."""
    return _chosen[0].scope() if _chosen else contextlib.nullcontext()


def replicas() -> int:
    """How many replicas models are trained on."""
    return _chosen[0].num_replicas_in_sync if _chosen else 1
