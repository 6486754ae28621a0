"""The balancer's variables, in the form that Keras saves and trains."""

from typing import Any

import keras
from absl import logging

# Names of what the training step saves.
STEP_STATE = ("tasks_seen",)


class BalancerState(keras.layers.Layer):
    """Holds the variables of a balancer, which is no layer itself, and saves them by name."""

    beside_graph = True

    def __init__(self) -> None:
        super().__init__(name="balancer_state", dtype=keras.backend.floatx())
        self.built = True
        self._lock_state()
        self._held_names: list[str] = []
        self._step_state: dict[str, keras.Variable] = {}

    def hold_of_step(self, variables: dict[str, keras.Variable]) -> None:
        """Save these variables of the training step too; files without them load."""
        self._tracker.unlock()
        self._step_state = variables
        self._tracker.lock()

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
        for name, variable in self._step_state.items():
            store[name] = variable

    def load_own_variables(self, store: Any) -> None:
        """Load each variable by its name.

        Raises:
            ValueError: if the store is that of another balancer.
        """
        names = set(store.keys())
        for name, variable in self._step_state.items():
            if name in names:
                variable.assign(store[name])
        stored = sorted(names - set(STEP_STATE))
        held = sorted(self._held_names)
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
