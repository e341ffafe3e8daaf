"""The cochlea model of the Spiking Heidelberg Digits, in three stages; see README.md."""
