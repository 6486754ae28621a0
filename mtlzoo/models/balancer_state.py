"""The balancer's variables, in the form that Keras saves and trains."""

from typing import Any

import keras
from absl import logging


class BalancerState(keras.layers.Layer):
    """Holds the variables of a balancer, which is no layer itself, and saves them by name."""

    def __init__(self) -> None:
        super().__init__(name="balancer_state", dtype=keras.backend.floatx())
        self.built = True
        self._lock_state()
        self._held_names: list[str] = []

    def hold(self, variables: dict[str, keras.Variable]) -> None:
        """Hold these variables, by the names to save them under, in place of the ones before."""
        self._tracker.unlock()
        for name in self._held_names:
            delattr(self, f"variable_{name}")
        self._held_names = list(variables)
        for name, variable in variables.items():
            setattr(self, f"variable_{name}", variable)
        self._tracker.lock()

    def save_own_variables(self, store: Any) -> None:
        """Store each variable under its own name."""
        for name in self._held_names:
            store[name] = getattr(self, f"variable_{name}")

    def load_own_variables(self, store: Any) -> None:
        """Load each variable by its name.

        Raises:
            ValueError: if the store is that of another balancer.
        """
        stored, held = sorted(store.keys()), sorted(self._held_names)
        if not stored:
            logging.warning("The file has no balancer state: the balancer starts afresh.")
            return
        if stored != held:
            raise ValueError(
                f"The saved balancer state should have the variables {held} of the balancer that "
                f"the model was compiled with. Received: {stored}"
            )
        for name in self._held_names:
            getattr(self, f"variable_{name}").assign(store[name])
