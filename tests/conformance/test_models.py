"""Every architecture, with one balancer, through every guarantee."""

import subprocess
import sys

import numpy as np
import pytest

from conformance import guarantees
from conformance.registry import ARCHITECTURES, TASKS, THROUGH_ALL, USUAL_ARCHITECTURE, Case, rows
from conformance.training import answers
from mtlzoo import export

# A server's process: nothing but `import mtlzoo` makes the saved files readable.
LOADS = """
import sys
import keras
import mtlzoo
import numpy as np

for path in sys.argv[1:]:
    rows = dict(np.load(path + ".npz"))
    expected = {name: rows.pop("of_" + name) for name in ("click", "kind", "stay")}
    model = keras.saving.load_model(path + ".keras")
    outputs = model(rows, training=False)
    for name, values in expected.items():
        np.testing.assert_array_equal(outputs[name], values)
    print("same", type(model).__name__, repr(model.balancer))
"""


# A server that has TensorFlow alone.
SERVES = """
import sys

class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "mtlzoo":
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Hidden())
import numpy as np
import tensorflow as tf

for path in sys.argv[1:]:
    rows = dict(np.load(path + ".npz"))
    expected = {key[3:]: rows.pop(key) for key in list(rows) if key.startswith("of_")}
    served = tf.saved_model.load(path)
    together = served.signatures["serve"](**{k: tf.constant(v) for k, v in rows.items()})
    for name, values in expected.items():
        alone = served.signatures[name](**{k: tf.constant(v) for k, v in rows.items()})
        np.testing.assert_allclose(together[name], values, atol=1e-6)
        np.testing.assert_allclose(alone[name], values, atol=1e-6)
    print("served", len(expected), "tasks", sorted(m for m in sys.modules if m == "mtlzoo"))
"""


CASES = [
    pytest.param(
        guarantee,
        architecture,
        id=f"{guarantee.__name__[6:]}-{architecture}",
        marks=[]
        if architecture == USUAL_ARCHITECTURE
        or (guarantee in guarantees.OF_EVERY_MODEL and "," not in architecture)
        else pytest.mark.slow,
    )
    for guarantee in guarantees.OF_MODELS
    for architecture in ARCHITECTURES
]


@pytest.mark.parametrize(("guarantee", "architecture"), CASES)
def test_model(guarantee, architecture, tmp_path):
    guarantee(Case(architecture), tmp_path)


SOME_OR_ALL = pytest.mark.parametrize(
    "architectures", [THROUGH_ALL, pytest.param(ARCHITECTURES, marks=pytest.mark.slow)]
)


@SOME_OR_ALL
def test_another_process_loads_the_models(architectures, tmp_path):
    paths, expected = [], []
    for architecture in architectures:
        model = Case(architecture).compiled()
        x, _ = rows(model)
        outputs = dict(zip(TASKS, answers(model, x), strict=True))
        paths.append(str(tmp_path / architecture))
        model.save(f"{paths[-1]}.keras")
        np.savez(paths[-1], **x, **{f"of_{name}": value for name, value in outputs.items()})
        expected.append(f"same {type(model).__name__} {model.balancer!r}")
    assert _lines(LOADS, paths) == expected


@SOME_OR_ALL
def test_a_server_without_mtlzoo_answers(architectures, tmp_path):
    paths = []
    for architecture in architectures:
        model = Case(architecture).compiled()
        x, _ = rows(model)
        outputs = model(x, training=False)
        served = {f"of_{n}": model.tasks[n].serve(outputs[n])[n] for n in TASKS}
        paths.append(str(tmp_path / architecture))
        export.save(model, paths[-1])
        np.savez(paths[-1], **x, **served)
    assert _lines(SERVES, paths) == [f"served {len(TASKS)} tasks []"] * len(paths)


def _lines(program, paths):
    """What `program` prints in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", program, *paths], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.splitlines()
