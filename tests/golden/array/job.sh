#!/bin/bash
#PBS -S /bin/bash
#PBS -N sweep
#PBS -l walltime=00:30:00
#PBS -o sweep.out
#PBS -j oe
#PBS -t 0-9%4
#PBS -W depend=afterok:123.server
#PBS -m ae
#PBS -M me@example.org
#PBS -l nodes=1:ppn=1:ib
#PBS -l mem=1342177280b
#PBS -l naccesspolicy=shared
#PBS -v BEOWULF_JOB_MAP=VT1.eyJqb2IiOnsiYXBpVmVyc2lvbiI6InZ0b3JxdWUvdjEiLCJiYXRjaCI6eyJhcnJheSI6IjAtOSU0IiwiZGVwZW5kcyI6eyJhZnRlcm9rIjpbIjEyMy5zZXJ2ZXIiXX0sImV4Y2x1c2l2ZSI6ZmFsc2UsImZlYXR1cmVzIjpbImliIl0sImpvaW4iOnRydWUsIm1haWwiOnsiZXZlbnRzIjpbImFib3J0IiwiZW5kIl0sInRvIjpbIm1lQGV4YW1wbGUub3JnIl19LCJvdXRwdXQiOiJzd2VlcC5vdXQiLCJ3YWxsdGltZSI6MTgwMH0sImltYWdlIjp7Im5hbWUiOiJkZWJpYW4tMTIifSwibmFtZSI6InN3ZWVwIn0sImpvYl9wbGFuX2RpZ2VzdCI6InNoYTI1Njo5ZTdlMjc2MjAwZDI1NzY0NWI0OTU2ODQ3MzBkZWI4NmE2NDFhMmE4ZWMzZDk4YWMyNTMyMzk0M2Y0Yzc5MzdkIiwicG9saWN5X2RpZ2VzdCI6InNoYTI1Njo4ZWRkMGUxYzM4NDQ1ZGJmOWM0Y2Q0Nzg0MDFhZTllOTM3ODA3OTVjNzBhMjczYmYzY2IwZDlhODY3YjliZjA0In0=
#
# The job, for people to read; the machines read what is encoded above and below.
# | # A job array that waits for another job: each task boots a VM of its own and finds its index in the environment
# | # (PBS_ARRAYID with Torque, PBS_ARRAY_INDEX with OpenPBS, SLURM_ARRAY_TASK_ID with Slurm).
# | apiVersion: vtorque/v1
# | name: sweep
# | image: debian-12
# | batch:
# |   walltime: "00:30:00"
# |   array: 0-9%4                      # ten tasks, four of them at once
# |   features: [ib]                    # on nodes with this property
# |   exclusive: false                  # which others may use as well
# |   depends: {afterok: ["123.server"]}    # ids as qsub prints them; Slurm's are numbers alone
# |   mail: {to: [me@example.org], events: [abort, end]}
# |   output: sweep.out                 # the task's index is added to it
# |   join: true
# | run: |
# |   task=${PBS_ARRAYID:-${PBS_ARRAY_INDEX:-${SLURM_ARRAY_TASK_ID:-0}}}
# |   echo "task $task on $(hostname)"
exec vtorque-runtime job torque <<'VTORQUE-USER-PART'
VTU1.eyJlbnYiOltdLCJlcGlsb2d1ZSI6bnVsbCwicHJvbG9ndWUiOm51bGwsInJ1biI6eyJhcmd
zIjpbXSwidGV4dCI6InRhc2s9JHtQQlNfQVJSQVlJRDotJHtQQlNfQVJSQVlfSU5ERVg6LSR7U0x
VUk1fQVJSQVlfVEFTS19JRDotMH19fVxuZWNobyBcInRhc2sgJHRhc2sgb24gJChob3N0bmFtZSl
cIlxuIn0sInZlcnNpb24iOjF9
VTORQUE-USER-PART
