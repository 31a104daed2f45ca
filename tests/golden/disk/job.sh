#!/bin/bash
#PBS -S /bin/bash
#PBS -N disk
#PBS -l walltime=00:30:00
#PBS -l nodes=1:ppn=2
#PBS -l mem=2684354560b
#PBS -v BEOWULF_JOB_MAP=VT1.eyJqb2IiOnsiYXBpVmVyc2lvbiI6InZ0b3JxdWUvdjEiLCJiYXRjaCI6eyJ3YWxsdGltZSI6MTgwMH0sImRpc2tzIjpbeyJtb3VudCI6Ii9zY3JhdGNoIiwibmFtZSI6InNjcmF0Y2giLCJzaXplIjoyMTQ3NDgzNjQ4MH0seyJhdHRhY2giOiJhbGwiLCJtb3VudCI6Ii9jYWNoZSIsIm5hbWUiOiJjYWNoZSIsInNpemUiOjUzNjg3MDkxMjB9XSwiaW1hZ2UiOnsibmFtZSI6ImRlYmlhbi0xMiJ9LCJtb3VudHMiOlt7Im5hbWUiOiJob21lIn1dLCJuYW1lIjoiZGlzayIsInZtc19wZXJfbm9kZSI6Mn0sImpvYl9wbGFuX2RpZ2VzdCI6InNoYTI1Njo1N2FhNTNkMjk5ZDg4YmRjZmMyZWI5MzM5MDlkZTU1YzJkOGYzZGU5OTNkMGZiZGMzNTI3MzBhMzk5YTIwOTU4IiwicG9saWN5X2RpZ2VzdCI6InNoYTI1Njo4ZWRkMGUxYzM4NDQ1ZGJmOWM0Y2Q0Nzg0MDFhZTllOTM3ODA3OTVjNzBhMjczYmYzY2IwZDlhODY3YjliZjA0In0=
#
# The job, for people to read; the machines read what is encoded above and below.
# | # A job with two disks of its own, empty at first and gone with it, beside the home. They are on the node: fast, and
# | # nobody else's.
# | apiVersion: vtorque/v1
# | name: disk
# | batch: {walltime: "00:30:00"}
# | image: debian-12
# | vms_per_node: 2
# | mounts: [home]
# | disks:
# |   - {name: scratch, size: 20GiB, mount: /scratch}             # in the first VM
# |   - {name: cache, size: 5GiB, mount: /cache, attach: all}     # one in each VM
# | run: |
# |   cd /scratch
# |   sort --temporary-directory=/cache ~/numbers >sorted
# |   cp sorted ~
exec vtorque-runtime job torque <<'VTORQUE-USER-PART'
VTU1.eyJlbnYiOltdLCJlcGlsb2d1ZSI6bnVsbCwicHJvbG9ndWUiOm51bGwsInJ1biI6eyJhcmd
zIjpbXSwidGV4dCI6ImNkIC9zY3JhdGNoXG5zb3J0IC0tdGVtcG9yYXJ5LWRpcmVjdG9yeT0vY2F
jaGUgfi9udW1iZXJzID5zb3J0ZWRcbmNwIHNvcnRlZCB+XG4ifSwidmVyc2lvbiI6MX0=
VTORQUE-USER-PART
