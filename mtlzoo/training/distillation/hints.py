"""Features of a teacher that a student learns to have, too."""

from typing import Any

import keras

from mtlzoo.layers import AttentionMap
from mtlzoo.layers.policies import at_least_float32
from mtlzoo.tasks import FeatureTargets
from mtlzoo.tasks.configs import check_config
from mtlzoo.tasks.heads import BilinearResizing
from mtlzoo.tasks.names import check_name


@keras.saving.register_keras_serializable(package="mtlzoo")
class Hint:
    r"""A layer of the student whose features, linearly projected, should be those of the teacher's.

    Romero et al., *FitNets: Hints for Thin Deep Nets*, ICLR 2015. With the features $h$ of the
    student, $t$ of the teacher and a learned projection $W$,

    $$\ell = \frac1n \, \| W h - t \|^2.$$

    Args:
        student: Name of the layer of the student; `"backbone/stage_1"` is a layer of the model
            `backbone` inside it. Its features are vectors, sequences or images.
        teacher: Name of the layer of the teacher.
        of: The teacher's task, where there are several teachers. Defaults to the only one.
        normalized: Whether each position of the teacher's features is brought to mean 0 and
            variance 1 over its channels first, so that the loss has the same size whatever theirs
            is. Defaults to `False`.
        name: Name of the task that it is in training. Defaults to that of the student's layer with
            `_hint`.

    Raises:
        ValueError: If `name` cannot name a task.

    Example:
    ```python
    import keras
    from mtlzoo import Classification, HardSharing
    from mtlzoo.training import Distillation, Hint

    tasks = [Classification("genre", num_classes=3)]
    teacher = HardSharing(keras.Input((8,), name="x"), tasks, shared_units=(32, 32))
    hint = Hint("shared_1", "shared_1")
    model = Distillation(teacher.student(0.25), teacher, hints=[hint])
    model.task_names  # ('genre', 'genre_soft', 'shared_1_hint')
    ```

    References:
        Romero et al., arXiv:1412.6550.

    *Differences from the paper*: trained together with the rest, not in a stage before it; the mean
    of the squares over the $n$ features in place of half their sum; images of another size are
    resized by linear interpolation, so that the projection is one of channels only.
    """

    reduce = "mean"

    def __init__(
        self,
        student: str,
        teacher: str,
        *,
        of: str | None = None,
        normalized: bool = False,
        name: str | None = None,
    ) -> None:
        self._name(student, teacher, of, name)
        self.normalized = normalized

    def _name(self, student, teacher, of, name):
        self.student, self.teacher, self.of = student, teacher, of
        self.name = f"{student}_hint".replace("/", "_") if name is None else name
        check_name(self.name)

    def of_teacher(self, features: Any) -> Any:
        """What of the teacher's features is learned."""
        if not self.normalized:
            return features
        dtype = at_least_float32()
        name = f"{self.name}_normalized"
        return keras.layers.LayerNormalization(
            center=False, scale=False, epsilon=1e-6, name=name, dtype=dtype
        )(features)

    def of_student(self, features: Any, like: Any) -> Any:
        """What of the student's features is compared, for features of the teacher `like` these."""
        dtype = at_least_float32()
        features = self._resized(features, like.shape[1:-1])
        return keras.layers.Dense(like.shape[-1], name=f"{self.name}_projection", dtype=dtype)(
            features
        )

    def task(self, wanted: Any) -> FeatureTargets:
        """The task of having what `of_teacher` has returned."""
        return FeatureTargets(self.name, wanted.shape[1:], self.reduce)

    def check(self, features: Any, like: Any) -> None:
        """Refuse features of different ranks.

        Raises:
            ValueError: naming the hint.
        """
        ranks = len(features.shape), len(like.shape)
        if ranks[0] != ranks[1] or ranks[0] not in (2, 3, 4) or None in like.shape[-1:]:
            raise ValueError(
                f"The hint `{self.name}` should be from vectors to vectors, sequences to sequences "
                f"or images to images. Received: student={self.student!r} of shape "
                f"{tuple(features.shape)}, teacher={self.teacher!r} of shape {tuple(like.shape)}"
            )

    def _resized(self, features, size):
        if len(features.shape) != 4 or tuple(features.shape[1:3]) == tuple(size):
            return features
        dtype = at_least_float32()
        return BilinearResizing(size, name=f"{self.name}_resizing", dtype=dtype)(features)

    def get_config(self) -> dict[str, Any]:
        """The arguments of `__init__`."""
        return {**self._names(), "normalized": self.normalized}

    def _names(self):
        return {
            "student": self.student,
            "teacher": self.teacher,
            "of": self.of,
            "name": self.name,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Hint":
        """A hint with the arguments of `config`."""
        return cls(**check_config(f"a `{cls.__name__}`", config, "student", "teacher"))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} name={self.name}>"


@keras.saving.register_keras_serializable(package="mtlzoo")
class AttentionTransfer(Hint):
    r"""A layer of the student that should look where one of the teacher's does.

    Zagoruyko and Komodakis, *Paying More Attention to Attention*, ICLR 2017. With the attention
    maps $q$ of `mtlzoo.layers.AttentionMap`,

    $$\ell = \| q - q^\text{teacher} \|^2.$$

    Nothing is projected: the channels may differ, and the sizes, of which the student's is resized
    to the teacher's.

    Args:
        student: Name of the layer of the student, see `Hint`. Its features are images.
        teacher: Name of the layer of the teacher.
        of: The teacher's task, where there are several teachers. Defaults to the only one.
        name: Name of the task that it is in training. Defaults to that of the student's layer with
            `_hint`.

    Raises:
        ValueError: If `name` cannot name a task.

    Example:
    ```python
    from mtlzoo.training import AttentionTransfer

    AttentionTransfer("backbone/stage_2", "backbone/stage_3", name="looks")
    ```

    References:
        Zagoruyko and Komodakis, arXiv:1612.03928.

    *Differences from the paper*: the square of the distance, as in the authors' program, and no
    factor; `loss_weights` has one.
    """

    reduce = "sum"

    def __init__(
        self, student: str, teacher: str, *, of: str | None = None, name: str | None = None
    ) -> None:
        self._name(student, teacher, of, name)

    def get_config(self) -> dict[str, Any]:
        """The arguments of `__init__`."""
        return self._names()

    def of_teacher(self, features: Any) -> Any:
        """The attention map, as a vector."""
        return self._map(features, f"{self.name}_of_teacher")

    def of_student(self, features: Any, like: Any) -> Any:
        """The attention map in the size of the teacher's, as a vector."""
        return self._map(self._resized(features, like.shape[1:3]), f"{self.name}_map")

    def _map(self, features, name):
        positions = AttentionMap(name=name, dtype=at_least_float32())(features)
        return keras.layers.Flatten(name=f"{name}_flat", dtype=at_least_float32())(positions)

    def check(self, features: Any, like: Any) -> None:
        """Refuse what is no image.

        Raises:
            ValueError: naming the hint.
        """
        if len(features.shape) != 4 or len(like.shape) != 4 or None in like.shape[1:3]:
            raise ValueError(
                f"The hint `{self.name}` should be from images to images of a known size. "
                f"Received: student={self.student!r} of shape {tuple(features.shape)}, "
                f"teacher={self.teacher!r} of shape {tuple(like.shape)}"
            )
