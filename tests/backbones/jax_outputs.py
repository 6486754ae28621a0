"""Run on another backend: backbones from their configurations and weights, and layers.

`python jax_outputs.py FOLDER` reads `<case>.json` and `<case>.npz` and writes `<case>.npy`.
"""

import inspect
import json
import pathlib
import re
import sys
import textwrap

import keras
import numpy as np

import mtlzoo
from mtlzoo import backbones, layers

# Those whose examples are models, which need TensorFlow.
GATES = [
    layers.SoftmaxGate(4, importance_weight=0.01),
    layers.DSelectKGate(num_experts=4, num_selected=2, entropy_weight=0.01),
]


def main(folder):
    for path in sorted(folder.glob("*.json")):
        description = json.loads(path.read_text())
        kind = getattr(backbones, description["kind"])
        backbone = kind.from_config(description["config"])
        arrays = np.load(path.with_suffix(".npz"))
        count = len(backbone.weights)
        backbone.set_weights([arrays[f"weight_{i}"] for i in range(count)])
        names = [tensor.name for tensor in backbone.inputs]
        x = {name: arrays[f"input_{name}"] for name in names}
        x = x if isinstance(backbone.input, dict) else x[names[0]]
        np.save(path.with_suffix(".npy"), backbone.predict(x, verbose=0))

    called = set()  # the names of layers' classes
    call = keras.layers.Layer.__call__

    def noted(layer, *args, **kwargs):
        output = call(layer, *args, **kwargs)
        called.add(type(layer).__name__)
        return output

    keras.layers.Layer.__call__ = noted
    for name in layers.__all__:
        text = inspect.getdoc(getattr(layers, name))
        for block in re.findall(r"```python\n(.*?)```", text, re.S):
            # What trains is TensorFlow's.
            if not re.search(r"from mtlzoo import|import mtlzoo$", block, re.M):
                exec(textwrap.dedent(block), {"__name__": name})
    for gate in GATES:
        for training in (False, True):
            weights = keras.ops.convert_to_numpy(gate(np.ones((2, 4)), training=training))
            np.testing.assert_allclose(weights.sum(axis=-1), 1, rtol=1e-5)
        assert len(gate.losses) == 1
    print("called:", *sorted(called))

    for attempt in ("HardSharing", "models", "export"):
        try:
            getattr(mtlzoo, attempt)
        except ImportError as error:
            print("refused:", attempt, error)
    assert keras.backend.backend() == "jax"


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
