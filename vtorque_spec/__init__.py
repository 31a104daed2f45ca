"""The front end of vtorque: what users and admins write, understood and checked."""

__version__ = "0.1.0"
