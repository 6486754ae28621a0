"""Imported by what trains and exports, this says so where Keras runs on another backend."""

import keras

if keras.backend.backend() != "tensorflow":
    raise ImportError(
        "mtlzoo's models need Keras's TensorFlow backend: their training step is TensorFlow's. "
        "Set KERAS_BACKEND=tensorflow before Keras is imported. Tasks, layers, metrics, backbones "
        "and balancing work with other backends. "
        f"Received: the backend {keras.backend.backend()!r}"
    )
