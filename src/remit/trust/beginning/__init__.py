"""The beginning of remit.yaml: a first file from a few answers, or one that describes what the clouds hold already."""
