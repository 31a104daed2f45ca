"""What `vtorque lint` does beside the checks of every compile: many files, and what of it is reported or mended.

`engine` checks files, over the cores; `suppress` reads comments that allow findings; `selection` and `baseline` choose
what is reported; `mend` applies the safe fixes. None of it makes a job acceptable: compile, run and the node refuse
errors whatever is hidden here.
"""
