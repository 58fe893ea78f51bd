"""The lab: Entra, Google and Vertex AI on loopback, faithful enough for the real client libraries.

One process behind a CONNECT proxy with its own certificate authority. It enforces what the clouds enforce, keeps
their logs, and can be told to fail. It imports `model` only, so that a mistake cannot hide on both sides.
"""
