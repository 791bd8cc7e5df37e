"""Looking names up, with a helpful sentence for those that do not exist."""

from difflib import get_close_matches


def choose(argument, name, known):
    """Returns name if it is one of known; else raises an error that suggests the nearest."""
    if isinstance(name, str) and name in known:
        return name
    if not isinstance(name, str):
        raise TypeError(f"{argument} is {name!r}, but must be one of the names {', '.join(known)}")
    nearest = get_close_matches(name.lower(), known, n=1, cutoff=0.4)
    hint = f"did you mean {nearest[0]!r}? " if nearest else ""
    raise ValueError(f"{argument} is {name!r}, which does not exist; {hint}known are {', '.join(known)}")
