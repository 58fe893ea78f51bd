from setuptools import setup

setup(name="digits", version="1.0", packages=["trainer"])
