"""The stories: the order in which the rooms are asked, each story in one file.

Imports `model` only and declares the ports that the other rooms fill; `assembly` fits them.
"""
