"""Just in time: what was asked for, approved and granted, and the grants that are in force.

`store` takes the steps, each in one commit with its entry; `view` knows what is in force. Leaves out who may ask and
who may approve (`access.request`, by policy).
"""
