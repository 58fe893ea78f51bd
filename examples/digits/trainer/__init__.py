"""Learns handwritten digits: an ordinary Vertex AI training package."""
