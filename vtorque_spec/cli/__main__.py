"""`python -m vtorque_spec.cli`."""

from vtorque_spec.cli import main

main()
