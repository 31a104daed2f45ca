#!/bin/bash
#PBS -S /bin/bash
#PBS -N hello
#PBS -l walltime=01:00:00
#PBS -l nodes=1:ppn=1
#PBS -l mem=1342177280b
#PBS -v BEOWULF_JOB_MAP=VT1.eyJqb2IiOnsiYXBpVmVyc2lvbiI6InZ0b3JxdWUvdjEiLCJpbWFnZSI6eyJuYW1lIjoiZGViaWFuLTEyIn0sIm5hbWUiOiJoZWxsbyJ9LCJqb2JfcGxhbl9kaWdlc3QiOiJzaGEyNTY6ODg3NWY0Nzc5Y2NlYzM5MjQ2MjYxYzQ5NDRkZTAwOWE5ZjljM2YyZTg5Y2M5YzY2ZTA5ZjM1NzBmODM1YzJlNyIsInBvbGljeV9kaWdlc3QiOiJzaGEyNTY6OGVkZDBlMWMzODQ0NWRiZjljNGNkNDc4NDAxYWU5ZTkzNzgwNzk1YzcwYTI3M2JmM2NiMGQ5YTg2N2I5YmYwNCJ9
#
# The job, for people to read; the machines read what is encoded above and below.
# | # The smallest job worth looking at: who and where am I, inside my own machine?
# | apiVersion: vtorque/v1
# | name: hello
# | image: debian-12
# | run: |
# |   echo "hello from $(hostname): $(. /etc/os-release && echo "$PRETTY_NAME"), kernel $(uname -r)"
# |   echo "I am $(id)"
exec vtorque-runtime job torque <<'VTORQUE-USER-PART'
VTU1.eyJlbnYiOltdLCJlcGlsb2d1ZSI6bnVsbCwicHJvbG9ndWUiOm51bGwsInJ1biI6eyJhcmd
zIjpbXSwidGV4dCI6ImVjaG8gXCJoZWxsbyBmcm9tICQoaG9zdG5hbWUpOiAkKC4gL2V0Yy9vcy1
yZWxlYXNlICYmIGVjaG8gXCIkUFJFVFRZX05BTUVcIiksIGtlcm5lbCAkKHVuYW1lIC1yKVwiXG5
lY2hvIFwiSSBhbSAkKGlkKVwiXG4ifSwidmVyc2lvbiI6MX0=
VTORQUE-USER-PART
