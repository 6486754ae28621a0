"""Encoder of the columns of a table."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras

from mtlzoo.backbones.backbone import Backbone, check_positive
from mtlzoo.layers.id_embedding import IdEmbedding
from mtlzoo.layers.policies import policy_config


@keras.saving.register_keras_serializable(package="mtlzoo")
class TabularEncoder(Backbone):
    r"""Embeddings of columns of ids and columns of numbers, side by side (Covington et al., 2016).

    $$x = [E^{(1)}_{i_1}, \ldots, E^{(n)}_{i_n}, d_1, \ldots, d_m].$$

    What the shared bottom of a recommender starts from. Columns stand in sorted order, those of
    ids first. Inputs are a dict by column. An id outside of its table is read as id 0, which
    lookup layers of Keras use for what is not in their vocabulary: neither an error nor the row of
    another id, and on every machine the same.

    The only stage is `features`.

    Args:
        id_columns: dict from the name of a column of ids to the number of its ids. Defaults to
            none.
        dense_columns: list of the names of columns of one number, or dict from the name of a column
            to how many numbers it has. Numbers are taken as they are. Defaults to none.
        embedding_dim: width of the embeddings, one integer or a dict by column. Defaults to 16.
        dtype: dtype policy of the layers. Defaults to the global one.
        name: name of the model. Defaults to one made from the class.

    Shapes:
        A dict of `(batch,)` or `(batch, 1)` int32 for ids, `(batch, n)` for numbers (or `(batch,)`
        for one) in; `(batch, features)` out.

    Raises:
        ValueError: if there is no column, two have one name, or a size or dtype is unusable.

    Example:
    ```python
    import numpy as np
    from mtlzoo import BinaryClassification, HardSharing
    from mtlzoo.backbones import TabularEncoder

    encoder = TabularEncoder({"user": 1000, "item": 500}, ["price"], embedding_dim=8)
    tasks = [BinaryClassification("click"), BinaryClassification("buy")]
    model = HardSharing(encoder.input, tasks, backbone=encoder, shared_units=(32,))
    row = {"user": np.array([7]), "item": np.array([3]), "price": np.array([0.5])}
    encoder(row).shape  # (1, 17)
    ```

    References:
        Covington et al., *Deep Neural Networks for YouTube Recommendations*, RecSys 2016.
    """

    width_arguments = ("embedding_dim",)

    def __init__(
        self,
        id_columns: Mapping[str, int] | None = None,
        dense_columns: Sequence[str] | Mapping[str, int] = (),
        *,
        embedding_dim: int | Mapping[str, int] = 16,
        dtype: Any = None,
        name: str | None = None,
    ) -> None:
        # --- Layers ---
        sizes = _by_column("id_columns", {} if id_columns is None else id_columns)
        numbers = dense_columns
        if isinstance(numbers, list | tuple):
            if any(numbers.count(column) > 1 for column in numbers):
                raise ValueError(
                    "`dense_columns` should have each name once. "
                    f"Received: dense_columns={numbers!r}"
                )
            numbers = dict.fromkeys(numbers, 1)
        dense = _by_column("dense_columns", numbers)
        if (not sizes and not dense) or set(sizes) & set(dense):
            raise ValueError(
                "`id_columns` and `dense_columns` should have at least one column together, each "
                f"with a name of its own. Received: {sorted(sizes)} and {sorted(dense)}"
            )
        if isinstance(embedding_dim, Mapping):
            widths = _by_column("embedding_dim", embedding_dim)
            if set(widths) != set(sizes):
                raise ValueError(
                    "`embedding_dim` should have an entry for each column of ids, "
                    f"{sorted(sizes)}. Received: entries for {sorted(widths)}"
                )
        else:
            widths = dict.fromkeys(sizes, check_positive("embedding_dim", embedding_dim))
        dtype = policy_config(dtype)
        layers = keras.layers

        # --- Graph ---
        inputs, parts = {}, []
        for column, size in sizes.items():
            inputs[column] = keras.Input((), dtype="int32", name=column)
            embedding = IdEmbedding(size, widths[column], name=f"{column}_embedding", dtype=dtype)
            parts.append(embedding(inputs[column]))
        for column, size in dense.items():
            inputs[column] = keras.Input((size,), name=column)
            parts.append(inputs[column])
        if len(parts) > 1:
            features = layers.Concatenate(name="features", dtype=dtype)(parts)
        else:
            features = layers.Identity(name="features", dtype=dtype)(parts[0])

        # --- Config ---
        arguments = {
            "id_columns": sizes,
            "dense_columns": dense,
            "embedding_dim": widths if isinstance(embedding_dim, Mapping) else embedding_dim,
            "dtype": dtype,
        }
        super().__init__(inputs, features, ["features"], arguments, name)


def _by_column(argument: str, sizes: Any) -> dict[str, int]:
    if not isinstance(sizes, Mapping) or not all(isinstance(k, str) and k for k in sizes):
        raise ValueError(
            f"`{argument}` should be a dict of sizes by name of column. "
            f"Received: {argument}={sizes!r}"
        )
    return {k: check_positive(f"{argument}[{k!r}]", sizes[k]) for k in sorted(sizes)}
