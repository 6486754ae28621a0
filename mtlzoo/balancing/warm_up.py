"""One method for some epochs, then another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from mtlzoo.balancing.balancer import Balancer
from mtlzoo.balancing.by_name import Identifier, get
from mtlzoo.layers.arguments import check_count


@keras.saving.register_keras_serializable(package="mtlzoo")
class WarmUp(Balancer):
    """Uses one method in the first epochs and another from then on.

    The training step is traced anew when the method changes, so that none is paid for that is not
    in use. How many epochs are over is part of the saved state: a resumed training goes on with the
    method of its epoch.

    Args:
        first: The balancer of the first epochs, or its name.
        then: The balancer of all later ones, or its name. It sees no losses,
            gradients or ends of epochs before.
        epochs: Positive integer, the number of epochs of `first`. Defaults to 1.

    State: that of both, under names that begin with `first_` and `then_`, and `epoch`.

    Raises:
        ValueError: If an argument is none of these.

    Example:
    ```python
    from mtlzoo.balancing import Equal, PCGrad, WarmUp

    WarmUp("equal", "pcgrad", epochs=2)
    WarmUp(Equal(), PCGrad(wrt="features"))
    ```
    """

    def __init__(self, first: Identifier, then: Identifier, epochs: int = 1) -> None:
        self.first, self.then = get(first, "first"), get(then, "then")
        for argument, balancer in (("first", self.first), ("then", self.then)):
            if isinstance(balancer, WarmUp):
                raise ValueError(
                    f"`{argument}` should be a balancer, and not a `WarmUp`. "
                    f"Received: `{argument}={balancer!r}`"
                )
        self.epochs = check_count("epochs", epochs)

    @property
    def parts(self) -> dict[str, Balancer]:
        """`first` and `then`."""
        return {"first": self.first, "then": self.then}

    @property
    def phases(self) -> list[Balancer]:
        """`first` and `then`, in this order."""
        return [self.first, self.then]

    def phase(self) -> int:
        """0 in the epochs of `first`, then 1."""
        return int(ops.convert_to_numpy(self.epoch) >= self.epochs) if self.built else 0

    def create_variables(self) -> None:
        """Creates `epoch`."""
        self.epoch = self.add_variable("epoch", (), "zeros", dtype="int")

    def on_epoch_end(self, logs: Mapping[str, float]) -> None:
        """Counts the epoch, and gives the logs to the method in use.

        Args:
            logs: The epoch's logs.
        """
        self.phases[self.phase()].on_epoch_end(logs)
        self.epoch.assign(self.epoch + 1)

    def get_config(self) -> dict[str, Any]:
        """The arguments of `__init__`."""
        serialize = keras.saving.serialize_keras_object
        return {
            "first": serialize(self.first),
            "then": serialize(self.then),
            "epochs": self.epochs,
        }
