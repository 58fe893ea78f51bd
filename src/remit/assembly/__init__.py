"""Puts ports and adapters together; nothing else in the house does. One file per thing that is put together."""
