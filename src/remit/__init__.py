"""Remit: an open, identity-aware access plane for machine learning.

The rooms of the house are its subpackages; each opens with what it answers. Nothing is
imported here, so that `import remit` costs nothing.
"""

__version__ = "0.1.0"
