"""OSv guests: the kernel runs the job's command itself, and all that it tells of it stands on its serial console."""
