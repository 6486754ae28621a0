"""One replica against several, in a process of its own: `python -m conformance.replicas CASE ...`.

Logical devices must be made before TensorFlow starts, and there may be only one strategy object,
since the collective keys of several collide in one process: of two replicas, or of four for cases
whose names begin with "four, ". Every case prints one line of JSON: its name and its largest
differences by what was compared, or the error that it ended with.

SGD without momentum in float64, because Adam hides a gradient that is R times too large, and the
rounding of float32 hides small faults.
"""

import functools
import json
import sys
from unittest import mock

import keras
import tensorflow as tf

from conformance.registry import THROUGH_ALL
from conformance.replica_events import OTHERS
from conformance.replica_precision import PRECISIONS
from conformance.replica_settings import EQUAL, FOUR, Setting, copies, distance, state
from mtlzoo.gradients import measuring

OF_FOUR = "four, "


def run(setting: Setting, strategy):
    model = setting.compiled(strategy)
    start = copies(model.trainable_variables)
    data = setting.dataset(model)
    history = model.fit(data, epochs=setting.epochs, verbose=0).history
    found = {
        "weights": copies(state(model)),
        "task weights": [list(model.task_weights.values())],
        "history": [history[key] for key in sorted(history)],
        "moved": [distance(copies(model.trainable_variables), start)],
    }
    if setting.evaluate:
        logs = model.evaluate(data, verbose=0, return_dict=True)
        found["evaluate"] = [logs[key] for key in sorted(logs)]
    return found


def one_equals_several(setting: Setting, strategy) -> dict:
    one, several = run(setting, None), run(setting, strategy)
    assert one["moved"][0] > 1e-3, "nothing was trained"
    return {what: distance(one[what], several[what]) for what in one}


def tables_made_dense(strategy) -> dict:
    """As on TPUs, whose replicas sum no `IndexedSlices`."""
    setting = EQUAL["embeddings, pcgrad"]
    one = run(setting, None)
    with mock.patch.object(measuring, "sums_slices", return_value=False) as asked:
        several = run(setting, strategy)
    assert asked.called
    return {what: distance(one[what], several[what]) for what in one}


# The others take five to fifteen seconds each, since every one traces a step for two devices.
QUICK = [f"model {THROUGH_ALL[0]}"]


CASES = {
    **{name: functools.partial(one_equals_several, setting) for name, setting in EQUAL.items()},
    "tables made dense": tables_made_dense,
    **PRECISIONS,
    **OTHERS,
    **{
        f"{OF_FOUR}{name}": functools.partial(one_equals_several, setting)
        for name, setting in FOUR.items()
    },
    **{
        f"{OF_FOUR}{name}": OTHERS[name]
        for name in ("absent task is untouched", "infinite loss, guarded", "refused")
    },
}


def main(chosen) -> None:
    replicas = 4 if chosen[0].startswith(OF_FOUR) else 2
    cpu = tf.config.list_physical_devices("CPU")[0]
    devices = [tf.config.LogicalDeviceConfiguration()] * replicas
    tf.config.set_logical_device_configuration(cpu, devices)
    strategy = tf.distribute.MirroredStrategy([f"CPU:{i}" for i in range(replicas)])
    for name in chosen:
        assert name.startswith(OF_FOUR) == (replicas == 4), name
        keras.config.set_floatx("float64")
        keras.config.set_dtype_policy("float64")  # also after a case of another precision
        try:
            found = CASES[name](strategy)
        except Exception as error:  # the other cases still run
            found = {"error": f"{type(error).__name__}: {error}"[-1500:]}
        print(json.dumps({"case": name, **found}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
