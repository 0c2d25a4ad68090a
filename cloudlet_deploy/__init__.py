"""Deploy, tune, test and undo grid storage elements and instrument cloudlets."""

__version__ = "0.1.0"
