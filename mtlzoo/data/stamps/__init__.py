"""Stamps: a picture, its caption and the caption spoken, with three tasks on each.

The stamps of Tux Paint that are pictures of pixels: 785 photographs, drawings and letters.

Tasks:
  category   nine classes: the eight largest folders (animals, food, household, plants, seasonal,
             symbols, town, vehicles) and the other ones together
  has_sound  binary, a sound belongs to the stamp: an animal's voice, a tune, a letter's name (17 %)
  upright    binary, its authors noted that it should not be turned upside down (54 %)

Inputs: `image` (64, 64, 3) on white; `caption`, English, at most 16 words; `speech`, the caption
spoken in French, 2 seconds at 8 kHz, of 767 stamps; and `image_present`, `caption_present` and
`speech_present`, booleans. A stamp without speech has zeros and False there. The preprocessor
scales pictures and sound and turns words into ids: 0 is padding, 1 a word that fewer than two
training captions have.

A caption names what is shown, and often says the category in so many words ("A red flag"): that
is what combining inputs is about, and what a model of the caption alone must be compared with.
There is no task "cartoon": folders of that name hold some of the drawings only.

Splits: 70, 15 and 15 % of each category. Stamps that look nearly alike (same base name) are in one
split.

Options of `load`: batch_size=64, seed=0, data_seed=0, preprocessed=True, raw_files, data_dir,
download=False. `raw_files` is the Debian package tuxpaint-stamps-default or a folder that holds it;
`download` fetches it with apt-get (161 MB). Needs the extra `datasets`; prepared without soundfile,
no stamp has speech.

Stamps have the licence GPL-2; nothing of them is in this package.
"""

from mtlzoo.data.stamps.loading import load, prepare

__all__ = ["load", "prepare"]
