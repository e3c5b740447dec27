"""`python -m hvit` and `torchrun -m hvit` are the command `hvit`."""

from hvit.cli import main

if __name__ == "__main__":
    main()
