"""alcurr list [configs|samplers|models]: names, with a line each."""

import inspect
import sys
from collections.abc import Sequence

from alcurr.core import cli, specs, terminal
from alcurr.core.registry import Registry
from alcurr.experiments.config import shipped
from alcurr.models import MODELS
from alcurr.samplers import SAMPLERS


def _describe(registry: Registry) -> dict[str, str]:
  return {
    name: shipped.first_line(inspect.getdoc(registry[name]))
    for name in sorted(registry)
  }


KINDS = {
  "configs": shipped.describe,
  "samplers": lambda: _describe(SAMPLERS),
  "models": lambda: _describe(MODELS),
}


def _list(argv: Sequence[str]) -> None:
  parser = cli.Parser(
    prog="alcurr list",
    example="alcurr list samplers models",
    description="Names what `alcurr run` and `alcurr.compare` take.",
  )
  text = ", ".join(KINDS) + "; default all"
  parser.add_argument("kinds", metavar="KIND", nargs="*", help=text)
  chosen = parser.parse_args(argv).kinds or KINDS
  for kind in chosen:
    specs.check_choice("KIND", kind, KINDS)
  for i, kind in enumerate(chosen):
    print("\n" * (i > 0) + f"{kind.capitalize()}:")
    print(*terminal.columns(KINDS[kind]()), sep="\n")


def main(argv: Sequence[str]) -> int:
  """Returns the exit status: 0, 2 after a user's mistake."""
  return cli.status(lambda: _list(argv))


if __name__ == "__main__":
  sys.exit(main(sys.argv[1:]))
