"""What is changed at random in training samples, and by how much."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from snnsim.errors import ConfigError, check_choice, check_number, check_size

MOST_MASKS = 1000  # of one sample
SAME, CUTMIX = "same", "cutmix"
MIXES = ("", SAME, CUTMIX)


@dataclass(frozen=True)
class Augmentation:
    """An augmentation says how training samples are changed at random; by default, not at all.

    Every sample has its own random numbers, which depend only on the seed, the epoch, the number of
    the sample and the transform. They are the same in every batch and on every process. Transforms
    act in the order in which they are listed here. Input is taken for numbers of events where 16
    samples that are looked at have whole numbers of 0 or more only.

    Attributes:
        speed: the largest change of the speed at which a sound is played, a fraction from 0 to 0.9:
            by a factor between ``1 - speed`` and ``1 + speed``. Faster is also higher. Only of
            recordings; those of one length are cut, or followed by silence.
        audio_noise: the largest amplitude of the white noise that is added to a sound, as a
            fraction of its own amplitude (root mean square), 0 or more; 0.1 is 20 dB below it.
            Amplitudes are uniform from 0. Only of recordings.
        time_stretch: the largest change of the duration, a fraction from 0 to 0.9: a sample becomes
            longer or shorter by a factor between ``1 - time_stretch`` and ``1 + time_stretch``.
        time_shift_ms: the largest shift of a sample within its own duration, in ms, 0 or more. What
            leaves the sample at one end is lost, and silence follows at the other.
        jitter_ms: the standard deviation of the time by which every event is moved, in ms, 0 or
            more. Only of events.
        channel_stretch: the largest stretch of the channel axis about its middle, a fraction from 0
            to 0.9, like another length of the vocal tract.
        channel_shift: the largest shift along the channel axis, in channels, 0 or more. Channels
            that come from beyond the edge repeat the one at the edge; of events, the shift is a
            whole number, and what leaves the channels is lost.
        drop: the probability with which every event is dropped, from 0 to 1. Only of events.
        gain: the largest change of the scale, 0 or more: values are multiplied by a factor between
            ``1 / (1 + gain)`` and ``1 + gain``, whose logarithm is uniform. Not of events.
        level: the largest number that is added to all values of a sample that are not 0, 0 or more.
            It changes the loudness where values are logarithms, as mel bands are. Where no value
            is negative, none becomes so. Not of events.
        tilt: the largest number that is added like ``level`` to the last channel, and subtracted
            from the first, 0 or more; in between it is proportional to the distance from the
            middle. It is like another microphone. Not of events.
        noise: the standard deviation of the Gaussian noise that is added to every value, 0 or more;
            of events, the mean number of random events that are added in every channel and step, at
            most 100.
        time_masks: the number of time masks of each sample, from 0 to 1000. Within a mask, values
            are the mean of the sample, and there are no events.
        time_mask_ms: the largest duration of a time mask, in ms, 0 or more; durations are uniform
            from 0.
        channel_masks: the number of channel masks of each sample, from 0 to 1000.
        channel_mask: the largest width of a channel mask, in channels, 0 or more; widths are
            uniform from 0.
        mix: with what a sample is mixed: ``"same"`` with another of its class; ``"cutmix"`` with
            any other, some of whose steps are pasted into it and whose class gets the same fraction
            of the target; empty for nothing. See :mod:`snnsim.data.augmentation.mixing`.
        mix_probability: the probability that a sample is mixed, from 0 to 1.

    Raises:
        ConfigError: if a value is out of its range.

    >>> Augmentation().acts, Augmentation(channel_shift=4).acts
    (False, True)
    """

    speed: float = 0.0
    audio_noise: float = 0.0
    time_stretch: float = 0.0
    time_shift_ms: float = 0.0
    jitter_ms: float = 0.0
    channel_stretch: float = 0.0
    channel_shift: float = 0.0
    drop: float = 0.0
    gain: float = 0.0
    level: float = 0.0
    tilt: float = 0.0
    noise: float = 0.0
    time_masks: int = 0
    time_mask_ms: float = 0.0
    channel_masks: int = 0
    channel_mask: int = 0
    mix: str = ""
    mix_probability: float = 0.5

    def __post_init__(self) -> None:
        for name in ("speed", "time_stretch", "channel_stretch"):
            check_number(f"augmentation.{name}", getattr(self, name), 0, 0.9)
        for name in (
            "audio_noise", "time_shift_ms", "jitter_ms", "channel_shift", "gain", "level", "tilt",
            "noise", "time_mask_ms",
        ):  # fmt: skip
            check_number(f"augmentation.{name}", getattr(self, name), 0, 1e6)
        for name in ("drop", "mix_probability"):
            check_number(f"augmentation.{name}", getattr(self, name), 0, 1)
        check_choice("augmentation.mix", self.mix, MIXES)
        for name in ("time_masks", "channel_masks"):
            check_size(f"augmentation.{name}", getattr(self, name), 0, MOST_MASKS)
        check_size("augmentation.channel_mask", self.channel_mask, 0, 10**6)
        self._check_masks("time_masks", "time_mask_ms")
        self._check_masks("channel_masks", "channel_mask")

    def _check_masks(self, number: str, width: str) -> None:
        """Refuse masks without a width, and a width without masks."""
        given, missing = (number, width) if getattr(self, number) else (width, number)
        if getattr(self, given) and not getattr(self, missing):
            raise ConfigError(
                f"augmentation.{given} is {getattr(self, given)}, but augmentation.{missing} is 0, "
                "so that nothing is masked; give both, or neither"
            )

    @property
    def acts(self) -> bool:
        """Return whether any sample is changed."""
        return any(value for name, value in vars(self).items() if name != "mix_probability")

    def as_json(self) -> dict[str, Any]:
        """Return the options as plain values."""
        return asdict(self)
