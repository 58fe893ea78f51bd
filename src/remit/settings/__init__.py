"""remit.yaml becomes each room's own frozen settings; nothing else in the house reads configuration.

`document.py` is YAML with places, `schema.py` the table of keys, `read.py` the way from one to the other.
"""
