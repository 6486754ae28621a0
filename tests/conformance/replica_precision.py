"""Mixed precision on one replica and on several.

Half precision rounds each replica's gradient, so that sums over replicas are rounded elsewhere than
those of one. What that may cost is measured by what half precision itself costs: how far one
replica in mixed precision gets from one in float32 in the same steps.
"""

import contextlib
from collections.abc import Callable, Iterator
from functools import partial

import keras

from conformance.replica_settings import HARD, Setting, copies, distance
from mtlzoo import PCGrad
from mtlzoo.balancing import GradDrop, Uncertainty

BALANCERS = {
    "equal": lambda: "equal",
    "uncertainty": Uncertainty,
    "pcgrad": PCGrad,
    "pcgrad, features": lambda: PCGrad(wrt="features"),
    "grad_drop": GradDrop,
}


@contextlib.contextmanager
def policy(name: str) -> Iterator[None]:
    """What the layers that are made inside compute in."""
    floatx, before = keras.config.floatx(), keras.config.dtype_policy()
    keras.config.set_floatx("float32")
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_floatx(floatx)
        keras.config.set_dtype_policy(before)


def trained(balancer: Callable, precision: str, strategy):
    """The variables before and after six steps, with unevenly spread labels and a ragged batch."""
    # A scale that does not overflow in these steps: an update that is passed over is tested apart.
    optimizer = partial(keras.optimizers.SGD, 0.1)
    if precision == "mixed_float16":
        optimizer = lambda: keras.optimizers.LossScaleOptimizer(  # noqa: E731
            keras.optimizers.SGD(0.1), initial_scale=1024.0
        )
    with policy(precision):
        setting = Setting(data=HARD, balancer=balancer, optimizer=optimizer)
        model = setting.compiled(strategy)
        before = copies(model.trainable_variables)
        model.fit(setting.dataset(model), epochs=2, verbose=0)
        return before, copies(model.trainable_variables)


def compare(precision: str, balancer: str, strategy) -> dict:
    make = BALANCERS[balancer]
    start, plain = trained(make, "float32", None)
    _, one = trained(make, precision, None)
    _, several = trained(make, precision, strategy)
    return {
        "moved": distance(plain, start),
        "of half precision": distance(one, plain),
        "of replicas": distance(several, one),
    }


PRECISIONS: dict[str, Callable] = {
    f"{precision}, {balancer}": partial(compare, precision, balancer)
    for precision in ("mixed_bfloat16", "mixed_float16")
    for balancer in BALANCERS
}
