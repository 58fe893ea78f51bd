"""The gateway: Envoy's configuration, the native module inside it, its certificates and its life.

`settings → plan → JSON` is pure (`plan.py`, `bootstrap.py`) and compared with golden files;
`certificates.py` and `envoy.py` are the edges. What decides is the arbiter: Envoy only holds the fast copy of
its last answer (`native/`), and a filter of its own demands the proof that there was one.
"""
