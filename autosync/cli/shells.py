"""The scripts by which bash, zsh and fish ask autosync how a command line may go on."""

from __future__ import annotations

from typing import Any

from click.shell_completion import (
    BashComplete,
    CompletionItem,
    FishComplete,
    ShellComplete,
    ZshComplete,
    add_completion_class,
)

# click's own scripts show no files beside other words (bash), cut words at a comma (fish), do nothing the second
# time (zsh, from a folder of $fpath), and let messages into the command line.  How they ask is as in click.

_BASH = r"""%(complete_func)s() {
    local IFS=$'\n' line type value files=
    while IFS= read -r line; do
        type=${line%%%%,*} value=${line#*,}
        case $type in
            file) files=1 ;;
            dir) compopt -o dirnames ;;
            *) COMPREPLY+=("$value"); [[ $value == *[![:alnum:]_./@%%+:,-]* ]] && compopt -o filenames ;;
        esac
    done < <(COMP_WORDS="${COMP_WORDS[*]}" COMP_CWORD=$COMP_CWORD %(complete_var)s=bash_complete "$1" 2>/dev/null)
    if [[ $files ]]; then
        if ((${#COMPREPLY[@]})); then
            COMPREPLY+=($(compgen -f -- "${COMP_WORDS[COMP_CWORD]}"))
            compopt -o filenames
        else
            compopt -o default
        fi
    fi
    return 0
}

complete -o nosort -F %(complete_func)s %(prog_name)s
"""

_ZSH = r"""#compdef %(prog_name)s

%(complete_func)s() {
    local -a words_alone words_told response
    local type key told
    response=("${(@f)$(COMP_WORDS="${words[*]}" COMP_CWORD=$((CURRENT-1)) \
        %(complete_var)s=zsh_complete ${words[1]} 2>/dev/null)}")
    for type key told in ${response}; do
        case $type in
            file) _path_files -f ;;
            dir) _path_files -/ ;;
            plain) [[ $told == _ ]] && words_alone+=("$key") || words_told+=("$key:$told") ;;
        esac
    done
    [[ -n $words_told ]] && _describe -V unsorted words_told -U
    [[ -n $words_alone ]] && compadd -U -V unsorted -a words_alone
}

# Loaded from a folder of $fpath this is the function itself, once; else it was read as a file.
if [[ $funcstack[1] == %(complete_func)s ]]; then
    %(complete_func)s "$@"
else
    compdef %(complete_func)s %(prog_name)s
fi
"""

_FISH = r"""function %(complete_func)s
    set -l response (env %(complete_var)s=fish_complete COMP_WORDS=(commandline -cp | string collect) \
        COMP_CWORD=(commandline -t | string collect) (commandline -opc)[1] 2>/dev/null)
    for line in $response
        set -l parts (string split --max 1 "," $line)
        switch $parts[1]
            case file
                __fish_complete_path $parts[2]
            case dir
                __fish_complete_directories $parts[2]
            case '*'
                echo $parts[2]
        end
    end
end

complete --no-files --command %(prog_name)s --arguments "(%(complete_func)s)"
"""


class _Bash(BashComplete):
    source_template = _BASH


class _Zsh(ZshComplete):
    source_template = _ZSH


class _Fish(FishComplete):
    source_template = _FISH

    def format_completion(self, item: CompletionItem[Any]) -> str:
        """Return an item on one line, what it is behind a tab."""
        told = f"\t{' '.join(item.help.split())}" if item.help else ""
        return f"{item.type},{item.value}{told}"


SHELLS: dict[str, type[ShellComplete]] = {"bash": _Bash, "zsh": _Zsh, "fish": _Fish}


def be_asked() -> None:
    """Let click answer the scripts of this module."""
    for shell in SHELLS.values():
        add_completion_class(shell)


def script(shell: str, program: str) -> str:
    """Return the script for ``shell``, one of :data:`SHELLS`, that completes ``program``."""
    names = {
        "complete_func": f"_{program}",
        "complete_var": f"_{program.upper()}_COMPLETE",
        "prog_name": program,
    }
    return SHELLS[shell].source_template % names
