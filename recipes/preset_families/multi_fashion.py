"""Presets of two pieces of clothing in one picture, one of them taught by a larger network."""

import functools

import keras

from mtlzoo import MTAN, HardSharing, MultiTaskModel, data
from mtlzoo.backbones import ConvNet
from mtlzoo.tasks import Task
from mtlzoo.training import Distillation
from recipes.parts import comparison
from recipes.preset_families import Family, Planned

SHAPE = (36, 36, 1)
LOAD = {"batch_size": 64}
TEACHER_EPOCHS = 2


def trunk(filters=(10, 20), units=(50,)) -> ConvNet:
    """A new network; by default that of `recipes.multi_fashion`."""
    return ConvNet(SHAPE, filters, dense_units=units, name="trunk")


def hard_sharing(fashion: data.Loaded) -> HardSharing:
    """One network for both tasks."""
    return HardSharing(
        fashion.inputs,
        fashion.tasks,
        backbone=trunk(),
        preprocessor=fashion.preprocessor,
        name="hard_sharing",
    )


def mtan(fashion: data.Loaded) -> MTAN:
    """The same network, and an attention of each task at each of its stages."""
    return MTAN(
        fashion.inputs,
        fashion.tasks,
        backbone=trunk(),
        preprocessor=fashion.preprocessor,
        name="mtan",
    )


def student(fashion: data.Loaded) -> HardSharing:
    """A network with a quarter of the teacher's widths."""
    return HardSharing(
        fashion.inputs,
        fashion.tasks,
        backbone=trunk((8, 16), (64,)),
        preprocessor=fashion.preprocessor,
        name="student",
    )


@functools.cache
def teacher() -> MultiTaskModel:
    """The large network, trained once, whatever number of students it has."""
    fashion = data.load("multi_fashion", **LOAD)
    keras.utils.set_random_seed(0)
    model = HardSharing(
        fashion.inputs, fashion.tasks, backbone=trunk((32, 64), (256,)), name="teacher"
    )
    steps = TEACHER_EPOCHS * int(fashion.train.cardinality())
    model.compile(keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(1e-3, steps)))
    comparison.to_best_epoch(model, fashion, TEACHER_EPOCHS)
    return model


def taught(model: MultiTaskModel, fashion: data.Loaded, seed: int) -> Distillation:
    """The student with its teacher's answers beside the labels."""
    return Distillation(model, teacher(), temperature=2.0)


def single_task(fashion: data.Loaded, task: Task) -> HardSharing:
    """The network of `hard_sharing` for one task."""
    return HardSharing(fashion.inputs, [task], backbone=trunk(), name=f"single_task_{task.name}")


FAMILY = Family(
    data_set="multi_fashion",
    load=LOAD,
    data=(
        "Multi-Fashion: two items of Fashion-MNIST (Zalando SE) laid over each other in one "
        "picture of 36 x 36 grey pixels, in the manner of MultiMNIST; 54,000 pairs for training, "
        "6000 for validation, 10,000 of the official test items for testing."
    ),
    licence=(
        "Fashion-MNIST is under the MIT licence; the weights are under that of this package, "
        "Apache-2.0"
    ),
    split="the 10,000 test pairs",
    models={
        "hard_sharing_multi_fashion": Planned(
            title="Hard parameter sharing on two pieces of clothing", build=hard_sharing
        ),
        "mtan_multi_fashion": Planned(
            title="MTAN on two pieces of clothing",
            build=mtan,
            limits=["It has twice the parameters of `hard_sharing_multi_fashion`."],
        ),
        "student_multi_fashion": Planned(
            title="A student on two pieces of clothing, taught by a larger network",
            build=student,
            around=taught,
            limits=[
                "Its teacher, of 647,316 parameters, is not in the package; the command trains it "
                "first. All students have the same one, so that the spread over seeds lacks "
                "that of teachers.",
            ],
        ),
    },
    single_task=single_task,
    epochs=1,
    learning_rate=2e-3,
    # XLA takes long to compile MTAN, and saves nothing here.
    compile_options={"jit_compile": False},
    limits=[
        "A single pass over the training pairs: longer trainings were not tried, and the order "
        "between the networks, those of single tasks among them, may then be another.",
        "Pictures are catalogue pictures of one shop, centered, grey on black, of 28 x 28 pixels, "
        "one at the top left and one at the bottom right. On photographs it is of no use.",
        "Whatever is shown is answered with two of ten classes.",
    ],
)
