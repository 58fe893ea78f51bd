"""`remit.google.Credentials`: what the clients of Google Cloud take as `credentials=`."""

from remit.sdk.google_credentials import Credentials

__all__ = ["Credentials"]
