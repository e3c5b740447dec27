"""The command `hvit`, which `python -m hvit` and `torchrun -m hvit` are, too."""

import sys

from hvit.interrupts import Ended, raising_ended


def main() -> None:
    """Runs the command line; while that is still being loaded, Ctrl-C and other signals already end in one line."""
    try:
        with raising_ended():
            from hvit.cli.main import main
    except KeyboardInterrupt:
        print("hvit: interrupted", file=sys.stderr)
        sys.exit(130)
    except Ended as error:
        print(f"hvit: {error}", file=sys.stderr)
        sys.exit(2)
    main()


if __name__ == "__main__":
    main()
