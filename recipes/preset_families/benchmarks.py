"""Configurations for benchmarks of the field whose data cannot be had here: no trained weights."""

import keras

from mtlzoo import MTAN, HardSharing, MMoE, MultiTaskModel
from mtlzoo.backbones import ResNet, TabularEncoder, TextEncoder
from mtlzoo.data.from_tfds import celeb_a, glue, movielens
from mtlzoo.data.pictures import scaling
from mtlzoo.data.scene_frames.loading import tasks_of
from mtlzoo.tasks import BinaryClassification, Regression
from recipes.preset_families import Configuration

_WHY = (
    "There are no trained weights: the data cannot be had where the presets of this package are "
    "made{}, so nothing is known of how good this configuration is."
)
_ANEW = "--load_weights=false"
# Height, width, classes and tasks as the authors of MTAN publish the two sets.
_SCENES = {
    "nyuv2": ((288, 384), 13, ("depth", "normals", "segmentation")),
    "cityscapes": ((128, 256), 7, ("depth", "segmentation")),
}
_ABOUT_SCENES = {
    "nyuv2": (
        "NYUv2 (Silberman et al., 2012) as the authors of MTAN publish it: 795 training and 654 "
        "test pictures of rooms, 288 by 384 pixels, 13 classes, depth and surface normals."
    ),
    "cityscapes": (
        "Cityscapes (Cordts et al., 2016) as the authors of MTAN publish it: 2975 training and "
        "500 test pictures of streets, 128 by 256 pixels, 7 classes and inverse depth."
    ),
}
# Users, movies and so on of `100k-ratings`, where rare ones share the id 0, at most.
_IDS = {"user": 944, "movie": 1683, "age": 8, "gender": 2, "occupation": movielens.OCCUPATIONS}
_WORDS, _VOCABULARY = 64, 20_000


def scenes(cls: type[MultiTaskModel], name: str) -> MultiTaskModel:
    """A dilated ResNet-34 with pyramid pooling, and the tasks of a set of scenes."""
    size, num_classes, tasks = _SCENES[name]
    backbone = ResNet(
        (*size, 3),
        blocks=(3, 4, 6, 3),
        stem="large",
        output_stride=8,
        pooled=False,
        aspp_filters=256,
    )
    image = keras.Input((*size, 3), name="image")
    return cls(image, tasks_of(size, num_classes, tasks), backbone=backbone, name=f"{name}_model")


def faces() -> MultiTaskModel:
    """A ResNet-18 for small pictures, and a head for each attribute."""
    shape = (64, 64, 3)
    return HardSharing(
        keras.Input(shape, name="image"),
        celeb_a.tasks(list(celeb_a.ATTRIBUTES), landmarks=False),
        backbone=ResNet(shape),
        preprocessor=scaling(shape),
        name="celeb_a_model",
    )


def movies() -> MultiTaskModel:
    """Embeddings, and experts that two tasks mix."""
    encoder = TabularEncoder(_IDS, {"genres": movielens.GENRES}, embedding_dim=16)
    return MMoE(
        encoder.input,
        [BinaryClassification("liked"), Regression("rating")],
        backbone=encoder,
        num_experts=4,
        expert_units=(64,),
        tower_units=(32,),
        dropout=0.3,
        name="movielens_model",
    )


def sentences() -> MultiTaskModel:
    """One encoder for both texts of a pair, their features and how they differ."""
    inputs = {
        name: keras.Input((_WORDS,), name=name, dtype="int32") for name in ("first", "second")
    }
    # Beside the known words there are padding and one for all others.
    encoder = TextEncoder(
        _VOCABULARY + 2, _WORDS, width=128, num_layers=4, num_heads=4, pooled=True
    )
    first, second = encoder(inputs["first"]), encoder(inputs["second"])
    pair = keras.layers.Concatenate(name="pair")(
        [first, second, keras.ops.abs(first - second), first * second]
    )
    return HardSharing(
        inputs,
        [glue.task_of(name) for name in glue.CONFIGS],
        backbone=keras.Model(inputs, pair, name="pairs"),
        shared_units=(256,),
        dropout=0.1,
        name="glue_model",
    )


def _of_scenes(cls: type[MultiTaskModel], title: str, data: str, name: str) -> Configuration:
    classes = _SCENES[data][1]
    given = f"--data folder=~/{data} --data num_classes={classes} --batch_size=8 --epochs=200"
    return Configuration(
        title=title,
        build=lambda: scenes(cls, data),
        data=_ABOUT_SCENES[data],
        licence="that of the data's authors, to be read there; nothing of it is in this package",
        why=_WHY.format(""),
        command=f"python -m mtlzoo train {name} scene_folders {given} {_ANEW}",
        data_set="scene_folders",
        load={"num_classes": classes},
        limits=[
            "The trunk is a ResNet-34 of basic blocks; published results are of a ResNet-50 for "
            "the most part, or of SegNet, and are not to be compared with it."
        ],
    )


CONFIGURATIONS = {
    "hard_sharing_nyuv2": _of_scenes(
        HardSharing, "Hard parameter sharing for NYUv2", "nyuv2", "hard_sharing_nyuv2"
    ),
    "mtan_nyuv2": _of_scenes(MTAN, "MTAN for NYUv2", "nyuv2", "mtan_nyuv2"),
    "hard_sharing_cityscapes": _of_scenes(
        HardSharing,
        "Hard parameter sharing for Cityscapes",
        "cityscapes",
        "hard_sharing_cityscapes",
    ),
    "mtan_cityscapes": _of_scenes(MTAN, "MTAN for Cityscapes", "cityscapes", "mtan_cityscapes"),
    "hard_sharing_celeb_a": Configuration(
        title="Hard parameter sharing for the forty attributes of CelebA",
        build=faces,
        data=(
            "CelebA (Liu et al., 2015): 162,770 training, 19,867 validation and 19,962 test "
            "pictures of faces, averaged to 64 by 64 pixels, with forty binary attributes."
        ),
        licence="for research that is not commercial, by the terms of the data's authors",
        why=_WHY.format(", and its terms do not allow every use"),
        command=f"python -m mtlzoo train hard_sharing_celeb_a celeb_a --epochs=15 {_ANEW}",
        data_set="celeb_a",
        limits=[
            "Attributes are what annotators saw in a picture, such as `attractive` or `male`, and "
            "not facts of a person; most faces are of celebrities with light skin. What is learned "
            "from them must not decide about anybody.",
        ],
    ),
    "mmoe_movielens": Configuration(
        title="MMoE for MovieLens",
        build=movies,
        data=(
            "MovieLens 100K (Harper and Konstan, 2015): 100,000 ratings of 1682 movies by 943 "
            "users, divided by time."
        ),
        licence="for research; the data may not be passed on, by the terms of GroupLens",
        why=_WHY.format(", and may not be passed on"),
        command=f"python -m mtlzoo train mmoe_movielens movielens --epochs=10 {_ANEW}",
        data_set="movielens",
        limits=[
            "The lookups of users and movies are made from the data, so the configuration has no "
            "preprocessor: served alone, it takes ids and not names.",
            "Gender and age of the users are among the inputs.",
        ],
    ),
    "hard_sharing_glue": Configuration(
        title="One text encoder for the nine tasks of GLUE",
        build=sentences,
        data=(
            "GLUE (Wang et al., 2018): nine sets of sentences and pairs of sentences, about "
            "854,800 training rows, of which each has the label of one task."
        ),
        licence="each of the nine sets has its own terms",
        why=_WHY.format(""),
        command=f"python -m mtlzoo train hard_sharing_glue glue --epochs=3 {_ANEW}",
        data_set="glue",
        limits=[
            "The vocabulary is made from the data, so the configuration has no preprocessor: "
            "served alone, it takes ids of words and not texts.",
            "The encoder begins without pretraining, on which published results rest.",
        ],
    ),
}
