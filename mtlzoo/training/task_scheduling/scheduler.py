"""The callback that changes how much each task is trained while a model trains."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from absl import logging

from mtlzoo.data import Mixture
from mtlzoo.data.arguments import check_count
from mtlzoo.data.sampling import normalized
from mtlzoo.training.task_scheduling.actions import (
    Action,
    Chosen,
    Mixing,
    Selecting,
    Weighing,
    chosen_before,
    claim,
)
from mtlzoo.training.task_scheduling.bandits import Bandit
from mtlzoo.training.task_scheduling.policy import TaskPolicy, Window
from mtlzoo.training.task_scheduling.window_losses import WindowLosses

THROUGH = ("weights", "selection")


class TaskScheduler(keras.callbacks.Callback):
    """Trains each task as much as a policy says, anew at the end of each window of steps.

    It acts through one of three things:

    * a `data.Mixture`: the policy's shares, by data set, are the probabilities by which batches are
      drawn. Before each step the tasks that the drawn data set has labels of are selected
      (`model.select_tasks`), so that nothing of the others is computed. A change comes into force
      after the mixture's `lag`. Give `fit` the stream as a whole, with `steps_per_epoch`. With the
      form `"rows"`, in which a batch has rows of all, only probabilities change.
    * `"weights"`: live factors of the losses (`model.weigh_tasks`), the shares times the number of
      tasks that have any, so that their mean is 1. All tasks are computed; one with the share 0
      counts as absent.
    * `"selection"`: for batches that carry all tasks. For each window `at_once` tasks are drawn by
      their shares, without replacement; only these are computed.

    A window is `every` steps, or what is left of them at the end of an epoch. At its end the policy
    is told the losses of the window, out of sums that the training keeps anyway, and at the end of
    an epoch the logs, with those of the validation data. Nothing depends on anything else but the
    seed, so that the same training is scheduled in the same way. What the scheduler and the policy
    remember is kept by `Backup`, which needs the mixture, too: `Backup(path, mixture=mixture)`.

    The logs of an epoch get `<name>_share`, the mean over its steps of the share that was in force,
    and, but for weights, `<name>_steps`, how many steps trained it. Put the scheduler before other
    callbacks that read these.

    Tasks that are switched off, not selected when the training begins, or weighed by 0, have no
    share; if only such tasks would have any, all others are trained alike. Factors multiply those
    of before. After the training the same tasks are selected as before, with the same factors.
    Tasks that are balanced as one (as those of soft targets, `model.row_of`) have one share.

    Args:
        policy: A `TaskPolicy`.
        through: A `data.Mixture`, `"weights"` or `"selection"`. A mixture begins with the policy's
            first shares in place of its own, so that the scheduler is made before the training.
        every: How many steps make a window, or `"epoch"`. Defaults to 100.
        at_once: How many tasks are trained in a window, of `"selection"` only. Defaults to 1.
        seed: Of what is drawn, an integer of at least 0. Defaults to 0.

    Attributes:
        policy: The policy.
        shares: By name the last shares that were decided.
        history: What was decided and when: `"step"` `(n,)`, after how many steps of training, and
            `"shares"`, by name `(n,)`; where turns go by the step, those of a round.

    Raises:
        ValueError: If an argument is out of its range; in `fit`, before the first step, for names
            that are not those of the model's tasks, and where another scheduler acts through the
            same thing; after the first step, if the mixture is not what is fitted.

    Example:
    ```python
    import keras
    import numpy as np
    import tensorflow as tf
    from mtlzoo import HardSharing, Regression, data
    from mtlzoo.training import UCB, TaskScheduler

    def batches(task, seed):
        x = np.random.default_rng(seed).normal(size=(64, 4)).astype("float32")
        return tf.data.Dataset.from_tensor_slices((x, {task: x[:, :1]})).batch(8)

    mixture = data.mix({"a": batches("a", 0), "b": batches("b", 1)})
    scheduler = TaskScheduler(UCB(), mixture, every=4)
    model = HardSharing(keras.Input((4,)), [Regression("a"), Regression("b")], shared_units=[8])
    model.compile("adam")
    model.fit(
        mixture.dataset,
        steps_per_epoch=mixture.steps_per_epoch,
        epochs=3,
        callbacks=[scheduler],
        verbose=0,
    )
    print(scheduler.shares)
    ```
    """

    def __init__(
        self,
        policy: TaskPolicy,
        through: Mixture | str,
        *,
        every: int | str = 100,
        at_once: int = 1,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if not isinstance(policy, TaskPolicy):
            raise ValueError(f"`policy` should be a `TaskPolicy`. Received: policy={policy!r}")
        is_mixture = isinstance(through, Mixture)
        if not is_mixture and not (isinstance(through, str) and through in THROUGH):
            raise ValueError(
                "`through` should be what `mtlzoo.data.mix` gives, 'weights' or 'selection'. "
                f"Received: through={through!r}"
            )
        if check_count("at_once", at_once) > 1 and through != "selection":
            raise ValueError(
                "`at_once` should be given with through='selection' only. "
                f"Received: at_once={at_once}"
            )
        self.policy, self.through = policy, through
        # Steps of a window; `None` for an epoch.
        self._every = None if every == "epoch" else check_count("every", every)
        self._at_once = at_once
        self._seed = check_count("seed", seed, least=0)
        self._is_used = False
        self._action = Action(None, Chosen([], {}))
        self._steps: list[int] = []
        self._decisions: list[list[float]] = []
        if isinstance(through, Mixture):
            policy.start(through.names, self._seed, through.tasks, through.sizes)
            by_step = policy.by_step()
            self._action.shares = self._checked()
            through.begin_with(self._action.shares if by_step is None else by_step)
            self._readings = len(through.begun)

    # -- before training ------------------------------------------------------------------------

    def on_train_begin(self, logs: Any = None) -> None:
        """Begin a training: check everything, and act for the first window."""
        model: Any = self.model
        if not hasattr(model, "task_mask"):
            raise ValueError(
                "`TaskScheduler` should be given to `fit` of a multi-task model. "
                f"Received: a model of type {type(model).__name__}"
            )
        claim(self, self.through)
        chosen = chosen_before(self)
        if isinstance(self.through, Mixture):
            if self._is_used:
                raise ValueError(
                    "A `TaskScheduler` through a mixture should be given to `fit` once: make both "
                    "anew, or go on with `Backup`. Received: the scheduler of the tasks "
                    f"{self.policy.task_names} again"
                )
            of = self.through
            self.policy.start(of.names, self._seed, of.tasks, of.sizes)
            self._warn_of_lag(of)
            self._action = Mixing(model, chosen, of, self.policy.by_step)
        else:
            self.policy.start(model._step.rows.names, self._seed)
            weighs = self.through == "weights"
            drawing = (self._at_once, self._seed, self.policy.fits)
            self._action = Weighing(model, chosen) if weighs else Selecting(model, chosen, *drawing)
        used = self.through if isinstance(self.through, str) else "mixture"
        self.policy.check_model(model)
        self.policy.check_use(used, self._at_once)
        self._losses = WindowLosses(model)
        self._step = self._epoch = self._windows = 0
        self._steps, self._decisions = [], []
        self._begin_window()
        self._begin_epoch()
        self._decide()

    def _warn_of_lag(self, mixture: Mixture) -> None:
        if isinstance(self.policy, Bandit) and self._every and self._every < mixture.lag:
            logging.warning(
                "`every` should be at least the `lag` of the mixture with the policy `%s`, which "
                "is told of steps with older shares otherwise. Received: every=%d, lag=%d",
                *(type(self.policy).__name__, self._every, mixture.lag),
            )

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Count anew; decide anew if other tasks are switched off than before."""
        self._epoch = epoch
        self._begin_epoch()
        if self._action.find_off() != self._action.off:
            self._decide()

    def _begin_epoch(self) -> None:
        self._losses.begin_epoch()
        self._share_sums = dict.fromkeys(self.policy.names, 0.0)
        self._epoch_steps, self._trained_in_epoch = 0, dict.fromkeys(self.policy.names, 0)

    def _begin_window(self) -> None:
        self._trained = dict.fromkeys(self.policy.names, 0)
        self._window_shares = dict.fromkeys(self.policy.names, 0.0)  # sums over its steps

    # -- in training ----------------------------------------------------------------------------

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Select the tasks of the steps that follow."""
        count = self.model.steps_per_execution
        self._action.before(self._step, count)
        self._losses.skip_evaluations()
        if count > 1:
            self._counter = self._count_steps()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Count the steps, and end the window if it is time."""
        at_once = count = self.model.steps_per_execution
        if count > 1:  # the data may have ended within the execution
            count = self._count_steps() - self._counter
        if isinstance(self._action, Mixing):
            self._action.check_reading(self._readings)
        self._is_used = True
        for step in range(self._step, self._step + count):
            for name, share in self._action.in_force(step).items():
                self._share_sums[name] += share
                self._window_shares[name] += share
            for name in self._action.trained(step):
                self._trained[name] += 1
                self._trained_in_epoch[name] += 1
        self._step += count
        self._epoch_steps += count
        if self._every is not None:
            done = batch + 1
            if done // self._every > (done - at_once) // self._every:
                self._end_window({})

    def _count_steps(self) -> int:
        return int(keras.ops.convert_to_numpy(self.model._step.balancer.step))

    def on_test_begin(self, logs: Any = None) -> None:
        """Keep the losses of the steps before the validation begins the sums anew."""
        if self.policy.needs_losses:
            self._losses.keep()

    def on_test_end(self, logs: Any = None) -> None:
        """Leave the losses of the validation out."""
        if self.policy.needs_losses:
            self._losses.skip()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """End the window, and put the shares into the logs."""
        logs = {} if logs is None else logs
        self._end_window(dict(logs))
        for name in self.policy.names:
            logs[f"{name}_share"] = self._share_sums[name] / max(self._epoch_steps, 1)
            if not self._action.computes_all:
                logs[f"{name}_steps"] = self._trained_in_epoch[name]
        logs.update(self.policy.logs())

    def on_train_end(self, logs: Any = None) -> None:
        """Leave the model with all tasks."""
        self._action.end()

    def _end_window(self, metrics: Mapping[str, float]) -> None:
        trained = {name: count for name, count in self._trained.items() if count}
        losses = self._losses.read() if trained and self.policy.needs_losses else {}
        sums = self._window_shares
        shares = normalized(sums) if any(sums.values()) else {}
        window = Window(self._step, self._epoch, losses, trained, metrics, shares)
        self.policy.observe(window)
        self._begin_window()
        self._windows += 1
        self._decide()

    def _decide(self) -> None:
        """Ask the policy, and act."""
        off = self._action.off = self._action.find_off()
        tasks = self.policy.tasks
        self.policy.off = frozenset(n for n in self.policy.names if set(tasks[n]) <= off)
        shares, on = self._checked(), self.policy.on
        # Alike, if all that the policy would train is off.
        left = {name: shares[name] for name in on if shares[name] > 0} or dict.fromkeys(on, 1.0)
        if set(left) != {name for name, share in shares.items() if share > 0}:
            shares = dict.fromkeys(shares, 0.0) | normalized(left)
        self._action.act(shares, self._step, self._windows)
        self._steps.append(self._step)
        self._decisions.append([self._action.shares[name] for name in self.policy.names])

    def _checked(self) -> dict[str, float]:
        """The policy's shares, if they are any."""
        shares = self.policy.shares()
        name = type(self.policy).__name__
        if sorted(shares) != sorted(self.policy.names):
            raise ValueError(
                f"The shares of the policy `{name}` should be those of {list(self.policy.names)}. "
                f"Received: {shares}"
            )
        for task, share in shares.items():
            if not 0 <= share <= 1 + 1e-6:  # NaN is neither
                raise ValueError(
                    f"The share of `{task}` should be a number from 0 to 1. Received: {share} from "
                    f"the policy `{name}`"
                )
        if not math.isclose(math.fsum(shares.values()), 1.0, abs_tol=1e-6):
            raise ValueError(
                f"The shares of the policy `{name}` should have the sum 1. Received: {shares}"
            )
        return {n: float(shares[n]) for n in self.policy.names}

    # -- what is kept ---------------------------------------------------------------------------

    @property
    def shares(self) -> dict[str, float]:
        """By name the last shares; a mixture puts them in force after its `lag`."""
        return dict(self._action.shares)

    @property
    def history(self) -> dict[str, Any]:
        """What was decided and when."""
        by_name = zip(*self._decisions, strict=True)
        shares = dict(zip(self._action.shares, map(np.array, by_name), strict=False))
        return {"step": np.array(self._steps, "int64"), "shares": shares}

    def get_state(self) -> dict[str, Any]:
        """What the scheduler, its policy and what it acts through remember."""
        return {
            "numbers": [self._step, self._epoch, self._windows, self._epoch_steps],
            "steps": np.array(self._steps, "int64"),
            "decisions": np.array(self._decisions, "float64"),
            "counts": [dict(self._trained), dict(self._trained_in_epoch)],
            "sums": [dict(self._share_sums), dict(self._window_shares)],
            "losses": self._losses.get_state(),
            "action": self._action.get_state(),
            "policy": self.policy.get_state(),
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on from a state.

        Args:
            state: What `get_state` gave.
        """
        self._step, self._epoch, self._windows, self._epoch_steps = map(int, state["numbers"])
        self._steps = np.asarray(state["steps"]).tolist()
        self._decisions = np.asarray(state["decisions"]).tolist()
        self._trained, self._trained_in_epoch = map(dict, state["counts"])
        self._share_sums, self._window_shares = map(dict, state["sums"])
        self._losses.set_state(state["losses"])
        self._action.set_state(state["action"])
        self.policy.set_state(state["policy"])
