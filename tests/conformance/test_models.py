"""Every architecture, with one balancer, through every guarantee."""

import subprocess
import sys

import numpy as np
import pytest

from conformance import guarantees
from conformance.registry import ARCHITECTURES, TASKS, Case, rows
from conformance.training import answers

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


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("guarantee", guarantees.OF_MODELS, ids=lambda g: g.__name__[6:])
def test_model(guarantee, architecture, tmp_path):
    guarantee(Case(architecture), tmp_path)


def test_another_process_loads_every_model(tmp_path):
    paths, expected = [], []
    for architecture in ARCHITECTURES:
        model = Case(architecture).compiled()
        x, _ = rows(model)
        outputs = dict(zip(TASKS, answers(model, x), strict=True))
        paths.append(str(tmp_path / architecture))
        model.save(f"{paths[-1]}.keras")
        np.savez(paths[-1], **x, **{f"of_{name}": value for name, value in outputs.items()})
        expected.append(f"same {architecture} {model.balancer!r}")
    done = subprocess.run(
        [sys.executable, "-c", LOADS, *paths], capture_output=True, text=True, timeout=300
    )
    assert done.stdout.splitlines() == expected, done.stderr[-3000:]
