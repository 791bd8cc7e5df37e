"""Where pickles of earlier versions look for `rebuilt`."""

from .storage.state import rebuilt

__all__ = ["rebuilt"]
