"""The models of the recipe on co-training: of words, of features of pictures, and of both."""

import keras

from mtlzoo import CrossModalFusion, HardSharing, MultiTaskModel
from mtlzoo.layers import MaskedMean
from mtlzoo.tasks import Task
from mtlzoo.training import MutualLearning
from recipes.parts import strategies
from recipes.parts.co_training_stamps import VIEWS
from recipes.parts.training import Restart

UNITS, DROPOUT = 64, 0.3
VOCABULARY = 320  # no division has more words in two or more training captions


def build(
    tasks: list[Task], words: tuple, features: tuple, learning_rate: float
) -> dict[str, Restart]:
    """One compiled model for each way. All trainings are of these: tracing takes long.

    Args:
        tasks: the tasks.
        words: the shape of a caption.
        features: the shape of a picture's features.
        learning_rate: that of Adam.
    """
    tasks = [type(task).from_config({**task.get_config(), "metrics": []}) for task in tasks]
    shapes = {"caption": (words, "int32"), "image": (features, "float32")}
    layers = {"shared_units": (UNITS,), "dropout": DROPOUT}

    def inputs() -> dict[str, keras.KerasTensor]:
        return {v: keras.Input(shape, dtype=dtype, name=v) for v, (shape, dtype) in shapes.items()}

    def encoder(view: str) -> keras.Model:
        given = inputs()[view]
        features = given
        if view == "caption":
            embedded = keras.layers.Embedding(VOCABULARY, UNITS, mask_zero=True)(given)
            features = MaskedMean()(embedded)
        return keras.Model(given, keras.layers.Dropout(DROPOUT)(features), name=f"{view}_encoder")

    def of_view(view: str, name: str) -> HardSharing:
        return HardSharing(inputs()[view], tasks, backbone=encoder(view), name=name, **layers)

    encoders = {view: encoder(view) for view in VIEWS}
    units = {"projection_units": UNITS, "fusion_units": UNITS}
    fused = CrossModalFusion(inputs(), tasks, encoders=encoders, name="fused", **units, **layers)
    with strategies.scope():
        members = {view: of_view(view, f"{view}_member") for view in VIEWS}
        models: dict[str, MultiTaskModel] = {view: of_view(view, f"{view}_model") for view in VIEWS}
        models |= {"fused": fused, "mutual": MutualLearning(members)}
        for model in models.values():
            # Every round has another number of rows, and XLA would compile each last batch anew.
            model.compile(keras.optimizers.Adam(learning_rate), jit_compile=False)
    return {name: Restart(model) for name, model in models.items()}
