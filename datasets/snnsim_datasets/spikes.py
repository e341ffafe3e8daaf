"""placeholder"""

from snnsim_datasets.tools.catalogue import INFOS

INFO = INFOS["spikes"]


def load(split, root=None, *, dt: float = 10.0, pool: int = 0, **f):
    raise NotImplementedError
