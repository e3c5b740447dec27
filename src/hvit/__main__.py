"""The command `hvit`, which `python -m hvit` and `torchrun -m hvit` are, too."""

import sys

from hvit.errors import RESUMABLE
from hvit.interrupts import Ended, raising_ended


def main() -> None:
    """Runs the command line; while that is still being loaded, Ctrl-C and other signals already end in one line."""
    given = sys.argv[1:]
    try:
        with raising_ended():
            if given[:1] == ["predict"]:
                from hvit.runtime import command  # exported models run without torch, and without waiting for it

                if command.takes(given):
                    command.main(given)
                    return
            from hvit.cli.main import main
    except ModuleNotFoundError as error:
        if (error.name or "hvit").startswith("hvit"):
            raise
        print(f"hvit: this needs the whole of hvit, and {error.name} is not installed: pip install hvit; without it, "
              f"`hvit predict MODEL.onnx IMAGES` runs exported models", file=sys.stderr)  # fmt: skip
        sys.exit(2)
    except KeyboardInterrupt:
        print("hvit: interrupted", file=sys.stderr)
        sys.exit(130)
    except Ended as error:
        print(f"hvit: {error}", file=sys.stderr)
        sys.exit(RESUMABLE)
    main()


if __name__ == "__main__":
    main()
