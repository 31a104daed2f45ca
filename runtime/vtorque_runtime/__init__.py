"""What runs on a node: applies a NodePlan, runs the job in its guests, and undoes everything."""

SYSTEM_BASE = "/var/lib/vtorque"
"""Where the system lane's jobs are (`spool`); here, because a hook of an ordinary job loads nothing else."""
