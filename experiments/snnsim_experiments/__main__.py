"""``python -m snnsim_experiments``, for ``torchrun -m``."""

from snnsim_experiments.cli import main

if __name__ == "__main__":
    main()
