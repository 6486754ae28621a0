"""Make the presets of the package: train them, choose one, measure it, and write its card.

    python -m recipes.make_presets --name=mmoe_census_income --seeds=3
    python -m recipes.make_presets --name=mmoe_census_income,ple_census_income --out=my_presets
    python -m recipes.make_presets --name=benchmarks   # the configurations without weights
    python -m recipes.make_presets --name=census_income --only_measure   # on a machine at rest

A preset is trained with several seeds, beside a network of each task alone. The validation data
chooses the epoch, the seed, and in how few bytes the weights are stored; the test data is for the
card. What differs from one data set to the next stands in `recipes/preset_families`: a preset of
your own is a file there. In the package's own folder the pages of the docs are brought up to
date, and a family whose weights must not be there leaves its configuration only.
"""

import importlib
import pathlib
import pkgutil

from absl import flags, logging

from mtlzoo import presets
from recipes import preset_families
from recipes.parts import preset_making, preset_report, strategies
from recipes.parts.training import Progress
from recipes.preset_families import Configuration, Family

_NAME = flags.DEFINE_list("name", [], "Presets to make, or whole families of them.")
_SEEDS = flags.DEFINE_integer("seeds", 3, "Trainings of each model.", lower_bound=1)
_OUT = flags.DEFINE_string("out", "mtlzoo/presets", "Folder to write them to.")
_ONLY_MEASURE = flags.DEFINE_bool("only_measure", False, "Only measure anew what presets cost.")

_PICTURE = pathlib.Path("docs/results/presets.png")


def main(_) -> None:
    logging.set_verbosity(logging.ERROR)  # TensorFlow warns of the tracing of several models
    out = pathlib.Path(_OUT.value)
    for module, names in chosen(_NAME.value).items():
        made = families()[module]
        if isinstance(made, Family) and made.no_weights and in_package(out):
            made = {name: preset_making.without_weights(name, made) for name in names}
        if isinstance(made, Family) and not _ONLY_MEASURE.value:
            make(made, names, out)
            continue
        for name in names:
            if not isinstance(made, Family):
                report(preset_making.configure(name, made[name], out))
            else:
                report(preset_making.measure(out / name))
    print(f"\nWritten to {out}")
    if in_package(out):
        bring_up_to_date()


def in_package(out: pathlib.Path) -> bool:
    """Whether it is the folder of the package's own presets.

    Args:
        out: a folder.
    """
    return out.resolve() == pathlib.Path(presets.__file__).resolve().parent


def bring_up_to_date() -> None:
    """Make the tables and the picture in the docs anew from the cards."""
    from docs import making  # which is there in a clone only

    pages = making.bring_up_to_date()
    trained = [presets.card(name) for name in presets.names(trained=True)]
    preset_report.draw_gains(_PICTURE, trained)
    written = [*(page.relative_to(making.ROOT) for page in pages), _PICTURE]
    print(f"Made anew: {', '.join(map(str, written))}")


def make(family: Family, names: list[str], out: pathlib.Path) -> None:
    """Train and write presets of one family."""
    tasks = len(preset_making.load(family).tasks)
    progress = Progress(_SEEDS.value * (tasks + len(names)), family.epochs)
    single = preset_making.train_single_tasks(family, _SEEDS.value, progress)
    for name in names:
        report(preset_making.make(name, family, single, out, progress))


def report(card: presets.Card) -> None:
    """Print what was made.

    Args:
        card: its card.
    """
    if card.trained:
        size, gain = card.size_bytes / 1000, card.delta_m["value"]
        print(f"{card.name}: {size:.0f} kB in {card.storage}, delta_m {gain:+.2f} %")
    else:
        print(f"{card.name}: a configuration of {card.parameters:,} parameters")


def families() -> dict[str, Family | dict[str, Configuration]]:
    """What each file of `recipes/preset_families` says, by its name."""
    found = {}
    for info in pkgutil.iter_modules(preset_families.__path__):
        module = importlib.import_module(f"{preset_families.__name__}.{info.name}")
        found[info.name] = getattr(module, "FAMILY", None) or module.CONFIGURATIONS
    return found


def chosen(names: list[str]) -> dict[str, list[str]]:
    """By family the presets that were asked for.

    Args:
        names: names of presets and of families.

    Raises:
        ValueError: if there is no such preset.
    """
    known = {
        module: list(made.models if isinstance(made, Family) else made)
        for module, made in families().items()
    }
    found = {
        module: [each for each in those if each in names or module in names]
        for module, those in known.items()
    }
    everything = {*known, *(each for those in known.values() for each in those)}
    if not names or set(names) - everything:
        raise ValueError(f"`--name` should be some of {sorted(everything)}. Received: {names}")
    return {module: those for module, those in found.items() if those}


if __name__ == "__main__":
    strategies.run(main)
