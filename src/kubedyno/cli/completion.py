"""`kubedyno completion`: completion scripts for bash, zsh and fish, made from the verbs and their flags."""

import argparse
import importlib

SHELLS = ("bash", "zsh", "fish")
_FILES = frozenset(
    {"--config", "--user-data", "--user-metadata", "--kubeconfig", "--tarball", "--metrics-endpoint", "--alert-profile"}
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Take the shell."""
    parser.add_argument("shell", nargs="?", default="bash", choices=SHELLS, help="(default %(default)s)")


def run(arguments: argparse.Namespace) -> int:
    """Print the script."""
    print({"bash": _bash, "zsh": _zsh, "fish": _fish}[arguments.shell](_flags()), end="")
    return 0


def _flags() -> dict[str, list[tuple[str, str, tuple[str, ...]]]]:
    """Return verb → (flag, help, choices) of each of its long flags."""
    from kubedyno.cli.main import VERBS, module_of

    found: dict[str, list[tuple[str, str, tuple[str, ...]]]] = {}
    for verb in VERBS:
        parser = argparse.ArgumentParser(prog=verb)
        importlib.import_module(f"kubedyno.cli.{module_of(verb)}").add_arguments(parser)
        flags = []
        for action in parser._actions:
            names = [name for name in action.option_strings if name.startswith("--")]
            if names and action.help != argparse.SUPPRESS:
                text = (action.help or "").replace("%(default)s", str(action.default)).replace("%%", "%")
                flags.append((names[0], text, tuple(str(choice) for choice in action.choices or ())))
        found[verb] = flags
    return found


def _bash(verbs: dict[str, list[tuple[str, str, tuple[str, ...]]]]) -> str:
    cases = "\n".join(
        f"    {verb}) flags='{' '.join(flag for flag, _, _ in flags)}' ;;" for verb, flags in verbs.items()
    )
    return f"""# bash completion for kubedyno: source <(kubedyno completion bash)
_kubedyno() {{
  local current previous verb flags word
  current="${{COMP_WORDS[COMP_CWORD]}}"
  previous="${{COMP_WORDS[COMP_CWORD-1]}}"
  verb=""
  for word in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
    case "$word" in -*) ;; *) verb="$word"; break ;; esac
  done
  case "$previous" in
    {"|".join(sorted(_FILES))}|-c) COMPREPLY=($(compgen -f -- "$current")); return ;;
  esac
  case "$verb" in
    "") flags='{" ".join(verbs)}' ;;
{cases}
    *) flags='' ;;
  esac
  COMPREPLY=($(compgen -W "$flags" -- "$current"))
}}
complete -o default -F _kubedyno kubedyno
"""


def _zsh(verbs: dict[str, list[tuple[str, str, tuple[str, ...]]]]) -> str:
    from kubedyno.cli.main import VERBS

    def quoted(text: str) -> str:
        cleaned = text.replace("'", "'\\''").replace("[", "(").replace("]", ")").replace(":", "\\:")
        return cleaned.replace("\n", " ")

    listed = "\n".join(f"    '{verb}:{quoted(VERBS[verb])}'" for verb in verbs)
    cases = []
    for verb, flags in verbs.items():
        lines = []
        for flag, text, choices in flags:
            action = f":value:({' '.join(choices)})" if choices else ":file:_files" if flag in _FILES else ""
            lines.append(f"        '{flag}[{quoted(text)}]{action}'")
        cases.append(
            f"    {verb})\n      _arguments \\\n" + " \\\n".join([*lines, "        '*::file:_files'"]) + "\n      ;;"
        )
    return f"""#compdef kubedyno
# zsh completion for kubedyno: source <(kubedyno completion zsh)
_kubedyno() {{
  local -a verbs
  verbs=(
{listed}
  )
  if (( CURRENT == 2 )); then
    _describe 'verb' verbs
    return
  fi
  local verb=$words[2]
  shift words
  (( CURRENT-- ))
  case "$verb" in
{chr(10).join(cases)}
  esac
}}
compdef _kubedyno kubedyno
"""


def _fish(verbs: dict[str, list[tuple[str, str, tuple[str, ...]]]]) -> str:
    from kubedyno.cli.main import VERBS

    def quoted(text: str) -> str:
        escaped = text.replace("\\", "\\\\").replace("'", "\\'")
        return "'" + escaped.replace("\n", " ") + "'"

    lines = ["# fish completion for kubedyno: kubedyno completion fish | source"]
    lines += [f"complete -c kubedyno -n __fish_use_subcommand -f -a {verb} -d {quoted(VERBS[verb])}" for verb in verbs]
    for verb, flags in verbs.items():
        for flag, text, choices in flags:
            more = f" -x -a {quoted(' '.join(choices))}" if choices else " -r" if flag in _FILES else ""
            lines.append(
                f"complete -c kubedyno -n '__fish_seen_subcommand_from {verb}' -l {flag[2:]} -d {quoted(text)}{more}"
            )
    return "\n".join(lines) + "\n"
