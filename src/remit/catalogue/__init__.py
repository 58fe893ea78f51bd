"""What is being asked: from a request's wire form to operations on resources, in the providers' own terms.

The methods are data (`data/`, made by `tools/catalogue.py`), the messages are Google's descriptors, the rules are few
and by hand. What is not known is refused; what can be read in two ways is refused; the message decides, never a header.
"""

from remit.catalogue.blob import blob_request
from remit.catalogue.classifier import Catalogue
from remit.catalogue.databases import database_request
from remit.catalogue.listing import (
    Row,
    actions,
    leasable_fields,
    leasable_grpc,
    methods,
    search,
    streaming_grpc,
    streams,
)
from remit.catalogue.methods import revision
from remit.catalogue.storage import storage_request

__all__ = [
    "Catalogue",
    "Row",
    "actions",
    "blob_request",
    "database_request",
    "leasable_fields",
    "leasable_grpc",
    "methods",
    "revision",
    "search",
    "storage_request",
    "streaming_grpc",
    "streams",
]
