"""May they: one Cedar policy set over the operations of a request, what it demands besides, and why.

`judge.CedarJudge` fills `access.ports.Judge`. Inside: `source` (files and places), `lint`, `obligations` and `book` (a
checked, immutable policy set), `schema` and `facts` (what the engine is told), `engine` (the fail-closed wrapper around
cedarpy) and `slices`, `weigh` (policies and obligations together), `approval` (would a grant permit it), `refusals`
(sentences for the caller). Beside it: `why` (explanations and repairs), `trials` (policy tests), `use` (what rules did
and did not), `edits` (recorded decisions under another set).
"""
