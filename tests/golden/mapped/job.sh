#!/bin/bash
#PBS -S /bin/bash
#PBS -N mapped
#PBS -l walltime=00:20:00
#PBS -l nodes=1:ppn=7
#PBS -l mem=2415919104b
#PBS -v BEOWULF_JOB_MAP=VT1.eyJqb2IiOnsiYXBpVmVyc2lvbiI6InZ0b3JxdWUvdjEiLCJiYXRjaCI6eyJ3YWxsdGltZSI6MTIwMH0sImltYWdlIjp7Im5hbWUiOiJkZWJpYW4tMTIifSwibWVtb3J5IjoyMTQ3NDgzNjQ4LCJuYW1lIjoibWFwcGVkIiwicGlubmluZyI6eyJtYXAiOlswLDIsNCw2XSwibW9kZSI6Im1hcCJ9LCJ2Y3B1cyI6NH0sImpvYl9wbGFuX2RpZ2VzdCI6InNoYTI1Njo4ZGE4YmY3YjBiYmY2MzM5MDNlN2FiYjI3ZmY0OTJhMzEwYWIyODM3OTRjODE5NTg1NmUxZjkyYzI3MTdkZWYzIiwicG9saWN5X2RpZ2VzdCI6InNoYTI1Njo4ZWRkMGUxYzM4NDQ1ZGJmOWM0Y2Q0Nzg0MDFhZTllOTM3ODA3OTVjNzBhMjczYmYzY2IwZDlhODY3YjliZjA0In0=
#
# The job, for people to read; the machines read what is encoded above and below.
# | # Four vCPUs on every other CPU of those allotted: the map is in a file, which several jobs may share.
# | apiVersion: vtorque/v1
# | name: mapped
# | image: debian-12
# | vcpus: 4
# | memory: 2GiB
# | pinning: {file: maps/every-other.yaml}
# | batch: {walltime: "00:20:00"}
# | run: lscpu --extended
exec vtorque-runtime job torque <<'VTORQUE-USER-PART'
VTU1.eyJlbnYiOltdLCJlcGlsb2d1ZSI6bnVsbCwicHJvbG9ndWUiOm51bGwsInJ1biI6eyJhcmd
zIjpbXSwidGV4dCI6ImxzY3B1IC0tZXh0ZW5kZWQifSwidmVyc2lvbiI6MX0=
VTORQUE-USER-PART
