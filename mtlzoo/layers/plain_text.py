"""What BERT makes of a text before it looks for pieces of words, letter by letter."""

import functools
import unicodedata

# Chinese characters are words of their own; those of Japanese and Korean alphabets are not.
_CHINESE = (
    (0x4E00, 0x9FFF),
    (0x3400, 0x4DBF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F),
    (0x2B820, 0x2CEAF),
    (0xF900, 0xFAFF),
    (0x2F800, 0x2FA1F),
)
_CODE_POINTS, _SURROGATES = 0x110000, range(0xD800, 0xE000)
# In ASCII also what Unicode calls a symbol.
_ASCII_PUNCTUATION = frozenset("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~")
#: Regular expression of the characters that are words of their own and are not in the table.
CHINESE = "[" + "".join(rf"\x{{{first:X}}}-\x{{{last:X}}}" for first, last in _CHINESE) + "]"
#: Regular expression of characters without a meaning that all share, which are left out.
PRIVATE = r"\p{Co}"


@functools.cache
def plain_letters() -> dict[str, str]:
    """By letter what it becomes, for all letters that become something else.

    Letters become small and lose their accents (NFD, without marks), blanks of all kinds become
    spaces, punctuation is set apart by spaces, and control characters vanish. Chinese characters
    and those for private use, of which there are many, are only here if they become others.
    """
    letters = map(chr, (i for i in range(_CODE_POINTS) if i not in _SURROGATES))
    changed = ((letter, _plain(letter)) for letter in letters)
    return {letter: plain for letter, plain in changed if plain != letter}


def _plain(letter: str) -> str:
    category = unicodedata.category(letter)
    if letter in "\t\n\r" or category.startswith("Z"):
        return " "
    if letter == "\ufffd" or category in ("Cc", "Cf"):
        return ""
    parts = unicodedata.normalize("NFD", letter)
    # Letter by letter: a capital sigma does not know that it ends a word.
    small = "".join(part.lower() for part in parts if unicodedata.category(part) != "Mn")
    return "".join(f" {part} " if _is_punctuation(part) else part for part in small)


def _is_punctuation(letter: str) -> bool:
    return letter in _ASCII_PUNCTUATION or unicodedata.category(letter).startswith("P")
