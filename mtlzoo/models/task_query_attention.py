"""Learned queries of each task over a shared sequence."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from mtlzoo import tasks as task_kinds
from mtlzoo.layers.arguments import check_count, check_rate, check_units
from mtlzoo.layers.query_attention import QueryAttention
from mtlzoo.models.architecture import Architecture, dense_stack, features_of, policy_config
from mtlzoo.tasks import Task


@keras.saving.register_keras_serializable(package="mtlzoo")
class TaskQueryAttention(Architecture):
    r"""Each task reads a shared sequence of tokens with queries of its own.

    With tokens $x_1, \ldots, x_S$ and, for task $t$, queries $q_{tn}$ of $H$ heads,

    $$y_t = h_t([o_{t1}, \ldots, o_{tN}]), \quad
    o_{tn} = \Big[\sum_s a_{tn1s}\, x_s V_1, \ldots, \sum_s a_{tnHs}\, x_s V_H\Big] W_t, \quad
    a_{tnhs} = \mathrm{softmax}_s \frac{\langle q_{tnh}, x_s K_h \rangle}{\sqrt{d}}$$

    (and biases). This is the pooling by multihead attention of Lee et al. (2019), with seed vectors
    for each task, as the queries of a Perceiver (Jaegle et al., 2022) are chosen by task. Keys and
    values of all heads are one product for all tasks; queries and $W_t$ are the task's own, so that
    the shared part ends at keys and values.

    Tokens have no place of their own: what should depend on their order needs a backbone that says
    it, such as one that adds embeddings of positions. A mask of the tokens that comes from the
    backbone (`Embedding(mask_zero=True)`, `Masking`) is heeded.

    Args:
        inputs: a `keras.Input`, or a list or dict of them.
        tasks: list of tasks.
        backbone: a Keras model or layer from the inputs to tokens `(batch, tokens, features)`, or a
            picture `(batch, height, width, features)`, each of whose places is a token. Without it
            there is one input, which is tokens or a picture already.
        num_heads: number of heads. Defaults to 4.
        key_dim: width of the queries, keys and values of each head. Defaults to 16.
        num_queries: number of queries of each task. What they read is joined. Defaults to 1.
        tower_units: widths of the fully connected layers of each task's tower. Defaults to none.
        activation: activation of the towers. Defaults to `"relu"`.
        dropout: rate of the dropout after each layer of a tower. Defaults to 0.
        dtype: dtype policy of the layers. Defaults to the global one.
        preprocessor: see `MultiTaskModel`.
        name: name of the model.

    Shapes:
        Inputs as given; outputs a dict by task, of the shapes of the tasks' heads.

    Raises:
        ValueError: for unusable inputs, tasks, numbers, widths, rates or dtypes.

    Example:
    ```python
    import keras
    import numpy as np
    from mtlzoo import BinaryClassification, Regression, TaskQueryAttention

    words = keras.Input((None,), dtype="int32", name="words")  # ids; 0 is padding
    backbone = keras.layers.Embedding(100, 8, mask_zero=True)
    tasks = [BinaryClassification("spam"), Regression("grade")]
    model = TaskQueryAttention(words, tasks, backbone=backbone, num_heads=2, key_dim=4)
    weights = model.attention_weights(np.array([[5, 7, 0], [9, 0, 0]]))["spam"]
    weights.shape  # (2, 2, 1, 3); weights[1, :, :, 1:] is 0
    ```

    References:
        Lee et al., *Set Transformer: A Framework for Attention-based Permutation-Invariant Neural
        Networks*, ICML 2019.
        Jaegle et al., *Perceiver IO: A General Architecture for Structured Inputs & Outputs*, ICLR
        2022.

    *Differences from the papers*: the queries are learned as they are, not as the product of a seed
    and a matrix, which is the same set of functions; no residual connection and no normalization
    after the attention; a tower in place of the row-wise layer.
    """

    scaled_arguments = ("key_dim",)

    def __init__(
        self,
        inputs: Any,
        tasks: Sequence[Task],
        *,
        backbone: Any = None,
        num_heads: int = 4,
        key_dim: int = 16,
        num_queries: int = 1,
        tower_units: Sequence[int] = (),
        activation: Any = "relu",
        dropout: float = 0.0,
        dtype: Any = None,
        preprocessor: keras.Model | None = None,
        name: str | None = None,
    ) -> None:
        # --- Layers ---
        by_name = task_kinds.by_name(tasks)
        num_heads = check_count("num_heads", num_heads)
        key_dim = check_count("key_dim", key_dim)
        num_queries = check_count("num_queries", num_queries)
        tower_units = check_units("tower_units", tower_units)
        dropout = check_rate("dropout", dropout)
        dtype = policy_config(dtype)
        keys_and_values = keras.layers.Dense(
            2 * num_heads * key_dim, name="keys_and_values", dtype=dtype
        )

        # --- Graph ---
        shared = keys_and_values(_tokens_of(inputs, backbone, dtype))
        weights, outputs = {}, {}
        for task_name, task in by_name.items():
            attention = QueryAttention(
                num_heads, key_dim, num_queries, name=f"{task_name}_attention", dtype=dtype
            )
            read, weights[task_name] = attention(shared)
            read = keras.layers.Flatten(name=f"{task_name}_read", dtype=dtype)(read)
            tower = dense_stack(read, tower_units, f"{task_name}_tower", activation, dropout, dtype)
            outputs[task_name] = task.head(tower)

        # --- Config ---
        arguments = {
            "backbone": backbone,
            "num_heads": num_heads,
            "key_dim": key_dim,
            "num_queries": num_queries,
            "tower_units": list(tower_units),
            "activation": activation,
            "dropout": dropout,
            "dtype": dtype,
        }
        inside = {"attention": weights}
        super().__init__(
            inputs, outputs, list(by_name.values()), arguments, preprocessor, name, inside
        )

    def attention_weights(self, x: Any, batch_size: int | None = None) -> dict[str, np.ndarray]:
        """How much each query of each task reads of each token.

        Args:
            x: inputs of the model, a batch of them or as for `predict`.
            batch_size: as for `predict`.

        Returns:
            dict by task of arrays `(rows, num_heads, num_queries, tokens)`, which sum to 1 over
            the tokens, unless a row has none.
        """
        return self._read("attention", x, batch_size)


def _tokens_of(inputs: Any, backbone: Any, dtype: Any) -> Any:
    """The features of the inputs as `(batch, tokens, features)`."""
    flat = keras.tree.flatten(inputs)
    if backbone is None and len(flat) != 1:
        raise ValueError(
            "`inputs` should be one input of tokens where there is no `backbone`. "
            f"Received: {len(flat)} inputs"
        )
    # Whatever the rank, an input that is tokens already passes as it is.
    tokens = features_of(inputs, _the_only_one if backbone is None else backbone)
    of = "the input" if backbone is None else "what `backbone` returns"
    is_float = keras.backend.is_float_dtype(tokens.dtype)
    if len(tokens.shape) not in (3, 4) or tokens.shape[-1] is None or not is_float:
        raise ValueError(
            f"The tokens, {of}, should be floats of shape (None, S, F) or (None, H, W, F), with F "
            f"known. Received: shape={tuple(tokens.shape)} and dtype {tokens.dtype}"
        )
    if len(tokens.shape) == 4:
        tokens = keras.layers.Reshape((-1, tokens.shape[-1]), name="tokens", dtype=dtype)(tokens)
    return tokens


def _the_only_one(inputs: Any) -> Any:
    (tensor,) = keras.tree.flatten(inputs)
    return tensor
