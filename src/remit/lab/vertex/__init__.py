"""Vertex AI in the lab: methods from one table, over gRPC and REST; jobs are real subprocesses."""
