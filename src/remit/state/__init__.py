"""The database: how it is opened, and how its tables come to be; and files that hold private keys.

Rooms bring their own tables and the steps that change them; `assembly` hands them to `schema.migrate`.
Leaves out: what the tables mean (`audit/tables.py`).
"""
