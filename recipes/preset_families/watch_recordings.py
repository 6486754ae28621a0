"""Presets of the motion of a watch."""

from mtlzoo import HardSharing, data
from mtlzoo.backbones import SensorEncoder
from mtlzoo.tasks import Task
from recipes.preset_families import Family, Planned

WIDTHS = (8, 16, 32)  # channels of the stages, a quarter of the defaults and less


def trunk(watch: data.Loaded) -> SensorEncoder:
    """A new residual network over time."""
    length, channels = watch.inputs.shape[1:]
    return SensorEncoder(length, channels, widths=WIDTHS, name="trunk")


def hard_sharing(watch: data.Loaded) -> HardSharing:
    """One network for both tasks."""
    return HardSharing(
        watch.inputs,
        watch.tasks,
        backbone=trunk(watch),
        preprocessor=watch.preprocessor,
        name="hard_sharing",
    )


def single_task(watch: data.Loaded, task: Task) -> HardSharing:
    """The same network for one task."""
    return HardSharing(watch.inputs, [task], backbone=trunk(watch), name=f"single_task_{task.name}")


FAMILY = Family(
    data_set="watch_recordings",
    load={"batch_size": 64},
    # `subject`, the third label of the data, is left out: see the limits.
    tasks=("exercise", "side"),
    data=(
        "140 recordings of shoulder exercises by the accelerometer and the gyroscope of a watch "
        "(Burns et al., Physiological Measurement 39, 2018), of ten healthy people and both arms, "
        "cut into windows of 5.12 seconds at 50 Hz that overlap by three quarters: 2318 for "
        "training, 324 for validation, 683 for testing. From the package seglearn 1.2.5."
    ),
    licence=(
        "the data is part of seglearn, BSD-3-Clause; the weights are under that of this package, "
        "Apache-2.0"
    ),
    split=(
        "the 683 test windows, of recordings of which none is trained on; the people and the arms "
        "are those of the training data in other exercises"
    ),
    models={
        "hard_sharing_watch_recordings": Planned(
            title="Hard parameter sharing on the motion of a watch", build=hard_sharing
        )
    },
    single_task=single_task,
    epochs=8,
    learning_rate=3e-3,
    limits=[
        "Ten healthy people, one watch, seven exercises of the shoulder. Of people with an injury, "
        "of other watches and of everyday motion it knows nothing, and whatever it is shown it "
        "answers with one of the seven exercises.",
        "It was tested on the people that it was trained on, in other exercises. On somebody new "
        "it is probably worse.",
        "`side` is the arm that wears the watch, 0 or 1 as the authors number them; the data does "
        "not say which is the left one.",
        "Which person it is, the third label of the data, is left out. On the validation data its "
        "macro F1 was 0.07 to 0.09 (by chance 0.10): nobody is validated on in an exercise and an "
        "arm that they were trained on, so that a network which knows the exercise learns whom to "
        "rule out.",
        "Windows overlap, so that the 683 test windows of 28 recordings say less than 683 "
        "independent ones would.",
    ],
)
