"""Presets of stamps: a picture, its caption, and the caption spoken."""

from mtlzoo import CrossModalFusion, data
from mtlzoo.tasks import Task
from recipes.parts.stamps import WIDTH, encoders
from recipes.preset_families import Family, Planned


def fusion(stamps: data.Loaded, tasks: list[Task], name: str, **options) -> CrossModalFusion:
    """Small encoders of all three, and the smallest fusion."""
    return CrossModalFusion(
        stamps.inputs,
        tasks,
        encoders=encoders(stamps.inputs),
        fusion="concatenation",
        projection_units=WIDTH,
        fusion_units=WIDTH,
        name=name,
        **options,
    )


FAMILY = Family(
    data_set="stamps",
    load={"batch_size": 64},
    data=(
        "785 stamps of Tux Paint, of the Debian package tuxpaint-stamps-default: a picture of 64 x "
        "64 pixels, its English caption, and of most the caption spoken in French; about 550 for "
        "training, 120 for validation, 115 for testing."
    ),
    licence=(
        "the stamps are under the GPL, version 2; whoever passes weights on that were trained on "
        "them should consider that"
    ),
    split="the test stamps, about 115, of other families of pictures than those trained on",
    models={
        "cross_modal_fusion_stamps": Planned(
            title="Pictures, captions and speech fused, on stamps",
            build=lambda stamps: fusion(
                stamps, stamps.tasks, "cross_modal_fusion", preprocessor=stamps.preprocessor
            ),
        )
    },
    single_task=lambda stamps, task: fusion(stamps, [task], f"single_task_{task.name}"),
    epochs=15,
    learning_rate=3e-3,
    limits=[
        "550 training stamps are few, and 115 test stamps tell two models apart only roughly: the "
        "spread over seeds is large, and this is one division of the stamps.",
        'A caption often says the category in so many words ("A red flag"), which is easier than '
        "seeing it.",
        "`has_sound` and `upright` are choices of the authors of Tux Paint, 17 and 54 % yes.",
        "It knows 265 English words; speech is the caption read in French.",
    ],
    no_weights=(
        "The stamps are under the GPL, version 2, and this package is not: there are no trained "
        "weights in it. The command makes them."
    ),
)
