"""Kinema: a real-time control stack that lets a robot arm act out what a video model imagines."""

__version__ = "0.1.0"
