"""Static keys in repositories with their history, notebooks and environment files, and what replaces each.

Built on detect-secrets: its plug-ins, its heuristics and its allowlist comment, with plug-ins of our own in `plugins/`.
Left out of it on purpose: whatever guesses by entropy, and `verify`, which would send a found secret over the network.
Nothing here keeps, prints or pickles a secret: what leaves a file is a `Found`.
"""
