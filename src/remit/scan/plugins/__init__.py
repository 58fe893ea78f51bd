"""Plug-ins for detect-secrets 1.5, for what it lacks; each also works in it by itself.

In a `.secrets.baseline` of detect-secrets: `{"name": "GoogleHmacKeyDetector", "path": "file:///…/plugins/google.py"}`.
Every pattern has one group at most, which is the secret, as `RegexBasedDetector.analyze_string` wants it, and no two
neighbouring repetitions that match the same letters, so that no text makes it slow.
"""
