"""May they: one Cedar policy set over the operations of a request, and why.

`judge.CedarJudge` fills `access.ports.Judge`. Inside: `source` (files and places), `lint` and `book` (a checked,
immutable policy set), `schema` and `facts` (what the engine is told), `engine` (the fail-closed wrapper around
cedarpy), `explain` (sentences for the caller). Leaves out: obligations, grants, replay, counterfactuals.
"""
