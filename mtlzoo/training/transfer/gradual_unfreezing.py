"""A callback that trains one stage more from time to time."""

from collections.abc import Sequence
from typing import Any

import keras
from absl import logging

from mtlzoo.layers.trainability import switch
from mtlzoo.training.transfer.freezing import (
    trace_again,
    train,
    train_if_allowed,
    unknown_to_optimizer,
)
from mtlzoo.training.transfer.matching import Layers, inside, match
from mtlzoo.training.transfer.stages import trunk_stages


class GradualUnfreezing(keras.callbacks.Callback):
    """Trains the tasks' own parts first, and then one stage of the trunk more at a time, from the
    last to the first (Howard & Ruder, 2018).

    Compile the model while nothing is frozen, so that its optimizer knows all variables. What is
    frozen in an epoch depends on the number of the epoch only, so that a training that was killed
    goes on with `Backup` as it was, and one that is called again goes on with `initial_epoch`. The
    step is traced anew when the stages change. After the training they stay as they were last.

    Args:
        groups: list of lists of names of layers, or patterns as for `freeze`, from the input on;
            the last group is the first to be trained. Layers that are in none are left as they
            are. Defaults to the stages of the trunk, see `trunk_stages`.
        every: how many epochs there are from one stage to the next; in the first ones only what is
            in no group is trained. Defaults to 1.
        epochs: instead of `every` the epochs, counted from 0, at whose beginning a group more is
            trained, one for each group. Defaults to None.

    Raises:
        ValueError: if an argument is out of its range; in `fit`, before the first step, for layers
            that the model does not have, that its optimizer was not built for, or that cannot be
            trained on its replicas.

    Example:
    ```python
    import keras
    import numpy as np
    from mtlzoo import HardSharing, Regression
    from mtlzoo.training import GradualUnfreezing

    tasks = [Regression("a"), Regression("b")]
    model = HardSharing(keras.Input((4,)), tasks, shared_units=[8, 8])
    model.compile("adam", balancer="pcgrad")
    x = np.random.default_rng(0).normal(size=(64, 4)).astype("float32")
    y = {"a": x[:, 0], "b": x[:, 1]}
    # First the heads, then "shared_1" as well, then everything.
    model.fit(x, y, epochs=3, callbacks=[GradualUnfreezing()], verbose=0)
    ```

    References:
        Howard & Ruder, *Universal Language Model Fine-tuning for Text Classification*, ACL 2018.

    *Differences from the paper*: the tasks' own parts take the place of the last layer, and the
    other two methods of the paper stand apart: `layerwise_learning_rates`, and any schedule of
    learning rates.
    """

    def __init__(
        self,
        groups: Sequence[Sequence[str]] | None = None,
        every: int = 1,
        epochs: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        if groups is not None and (
            not isinstance(groups, list | tuple)
            or not groups
            or not all(isinstance(group, list | tuple) and group for group in groups)
        ):
            raise ValueError(
                "`groups` should be a list of lists of names of layers. "
                f"Received: groups={groups!r}"
            )
        if isinstance(every, bool) or not isinstance(every, int) or every < 1:
            raise ValueError(
                f"`every` should be an integer of at least 1. Received: every={every!r}"
            )
        if epochs is not None and (
            not isinstance(epochs, list | tuple)
            or not all(isinstance(e, int) and not isinstance(e, bool) and e >= 0 for e in epochs)
            or list(epochs) != sorted(epochs)
        ):
            raise ValueError(
                f"`epochs` should be a list of ascending epochs. Received: epochs={epochs!r}"
            )
        self._patterns, self._every, self._epochs = groups, every, epochs
        self._groups: dict[str, Layers] = {}
        self._trained = 0

    def on_train_begin(self, logs: Any = None) -> None:
        """Find the groups, and check that all of them can be trained."""
        model: Any = self.model
        if self._patterns is None:
            self._groups = {name: inside(of) for name, of in trunk_stages(model).items()}
        else:
            self._groups = {}
            for group in self._patterns:
                found = match(model, "groups", group)
                self._groups[", ".join(group)] = inside([la for of in found.values() for la in of])
        if self._epochs is not None and len(self._epochs) != len(self._groups):
            raise ValueError(
                f"`epochs` should have one entry for each of the groups {list(self._groups)}. "
                f"Received: epochs={self._epochs!r}"
            )
        every_layer = [layer for group in self._groups.values() for layer in group]
        unknown = unknown_to_optimizer(model, every_layer)
        if unknown:
            raise ValueError(
                "`groups` should be trainable when the model is compiled, so that its optimizer "
                "knows them: call `unfreeze(model)` before `compile`. "
                f"Received: the variable `{unknown[0].path}` of `{model.name}`, which it does not "
                "know"
            )
        frozen = [layer for layer in model._flatten_layers() if not layer.trainable]
        train_if_allowed(model, every_layer)  # now rather than in a later epoch
        switch(frozen, False)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Train the groups whose turn it is."""
        if self._epochs is None:
            count = min(epoch // self._every, len(self._groups))
        else:
            count = sum(epoch >= first for first in self._epochs)
        self._train(count)

    def get_state(self) -> dict[str, Any]:
        """How many groups are trained."""
        return {"trained": self._trained}

    def set_state(self, state: dict[str, Any]) -> None:
        """Train as many groups as before."""
        self._train(int(state["trained"]))

    def _train(self, count: int) -> None:
        """Train the last `count` groups only."""
        model: Any = self.model
        before = [layer.trainable for layer in model._flatten_layers()]
        names, groups = list(self._groups), list(self._groups.values())
        first = len(groups) - count
        switch([layer for group in groups[:first] for layer in group], False)
        train(model, [layer for group in groups[first:] for layer in group])
        self._trained = count
        if before != [layer.trainable for layer in model._flatten_layers()]:
            logging.info(
                "Besides the rest %s are trained, %s are not", names[first:], names[:first]
            )
            trace_again(model)
