"""A script with which a shell completes commands, names and flags."""

from collections.abc import Iterable

from mtlzoo.command_line import catalogue
from mtlzoo.command_line.command import Command
from mtlzoo.command_line.help_text import own_flags

_SCRIPT = """\
# Completion of `mtlzoo`: eval "$(mtlzoo --completion=bash)"
_mtlzoo() {{
  local word="${{COMP_WORDS[COMP_CWORD]}}" command="${{COMP_WORDS[1]}}" place=0 i
  COMPREPLY=()
  if [ "$COMP_CWORD" -eq 1 ]; then
    COMPREPLY=($(compgen -W "{commands} --help --version --completion=bash" -- "$word"))
    return
  fi
  for ((i = 2; i < COMP_CWORD; i++)); do
    case "${{COMP_WORDS[i]}}" in -*|=) ;; *) [ "${{COMP_WORDS[i-1]}}" = "=" ] || place=$((place + 1));; esac
  done
  case "$command:$word" in
{flags}
  esac
  case "$command:$place" in
{words}
  esac
  COMPREPLY+=($(compgen -f -- "$word"))
}}
complete -o nospace -F _mtlzoo mtlzoo"""  # noqa: E501


def bash(commands: Iterable[Command]) -> str:
    """The script for bash, with what is known now.

    Args:
        commands: the commands of the program.
    """
    listed = list(commands)
    flags, words = [], []
    for command in listed:
        values = command.new_flags()
        spelled = [
            f"--{name}" if values[name].boolean else f"--{name}=" for name in own_flags(values)
        ]
        flags.append(_case(f"{command.name}:-*", spelled, ends=True))
        for place, kinds in enumerate(command.completes):
            known = [name for kind in kinds.split() for name in catalogue.words_of(kind)]
            words.append(_case(f"{command.name}:{place}", known))
    return _SCRIPT.format(
        commands=" ".join(command.name for command in listed),
        flags="\n".join(flags),
        words="\n".join(words),
    )


def _case(pattern: str, words: Iterable[str], ends: bool = False) -> str:
    then = "return" if ends else ""
    reply = f'COMPREPLY=($(compgen -W "{" ".join(words)}" -- "$word"))'
    return f"    {pattern}) {'; '.join(filter(None, [reply, then]))};;"
