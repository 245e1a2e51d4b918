"""How often does Python look for objects that only refer to each other?"""

import gc

# By its own 700 it looks through what importing made, hundreds of thousands of objects that stay, over and over.
_OBJECTS = 20_000


def collect_seldom() -> None:
    """From now on look after so many new objects, and only at those that are made from now on."""
    gc.freeze()
    gc.set_threshold(_OBJECTS)
