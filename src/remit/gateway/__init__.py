"""The gateway: Envoy's configuration, its Lua, its certificates and its life.

`settings → plan → JSON` is pure (`plan.py`, `bootstrap.py`) and compared with golden files;
`certificates.py` and `envoy.py` are the edges. What decides is the arbiter: Envoy only holds the fast copy of
its last answer (`lua/`), and a native filter demands the proof that there was one.
"""
