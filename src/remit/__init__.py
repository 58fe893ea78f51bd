"""Remit: an open, identity-aware access plane for machine learning.

The rooms of the house are its subpackages; each opens with what it answers. `Credential` and `failures` are what a job
takes from here. Nothing is imported before it is used, so that `import remit` costs nothing; `__init__.pyi` has the
types, and is no import either.
"""

import importlib

__version__ = "0.1.0"

_LAZY = {"Credential": ("remit.sdk.credential", "Credential"), "failures": ("remit.sdk.failures", "")}


def __getattr__(name: str) -> object:
    if name not in _LAZY:
        message = f"module `{__name__}` has no attribute `{name}`"
        raise AttributeError(message)
    module, attribute = _LAZY[name]
    found = importlib.import_module(module)
    return getattr(found, attribute) if attribute else found
