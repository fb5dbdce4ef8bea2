"""``python -m harebell`` is the same as the ``harebell`` command."""

from harebell.cli import main

if __name__ == "__main__":
    main()
