"""The words: what every room means by principal, operation, decision, credential and record.

Standard library only. Values are frozen; a type says "checked": an `UnverifiedToken` goes in,
an `Identity` comes out. Reasons are one closed list (`reasons.py`), errors one tree (`errors.py`).
"""
