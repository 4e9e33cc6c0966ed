"""``python -m ecgclip``, the same as the command ``ecgclip``."""

from ecgclip.cli import main

if __name__ == "__main__":
    main()
