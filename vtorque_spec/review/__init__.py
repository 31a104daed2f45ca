"""What admins do before a policy goes live: run its own cases, and compare it with the one that is in force.

`context` reads who asks from a file, `cases` finds and runs a policy's cases, `coverage` tells what none has met,
`diff` compares what two sites make of the same jobs; `case_report`, `case_junit` and `diff_report` write it down.
"""
