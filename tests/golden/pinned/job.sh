#!/bin/bash
#PBS -S /bin/bash
#PBS -N pinned
#PBS -l walltime=00:20:00
#PBS -l nodes=1:ppn=2
#PBS -l mem=1879048192b
#PBS -v BEOWULF_JOB_MAP=VT1.eyJqb2IiOnsiYWxsb3dfZGVncmFkZWQiOlsidW5waW5uZWQiXSwiYXBpVmVyc2lvbiI6InZ0b3JxdWUvdjEiLCJiYXRjaCI6eyJ3YWxsdGltZSI6MTIwMH0sImltYWdlIjp7Im5hbWUiOiJkZWJpYW4tMTIifSwibWVtb3J5IjoxNjEwNjEyNzM2LCJuYW1lIjoicGlubmVkIiwicGlubmluZyI6eyJtYXAiOlswLDFdLCJtb2RlIjoibWFwIn0sInZjcHVzIjoyfSwiam9iX3BsYW5fZGlnZXN0Ijoic2hhMjU2OjcwMDUyOTFkYTJhNDI4N2U3ODAxOWJlYzQxYjQ4YTNjYjk5MDUyYWIxMzA2ZTU4MDBkMWZjMDVlYmEyNzQyYTciLCJwb2xpY3lfZGlnZXN0Ijoic2hhMjU2OjhlZGQwZTFjMzg0NDVkYmY5YzRjZDQ3ODQwMWFlOWU5Mzc4MDc5NWM3MGEyNzNiZjNjYjBkOWE4NjdiOWJmMDQifQ==
#
# The job, for people to read; the machines read what is encoded above and below.
# | # Two vCPUs, each on a CPU of its own: the first and the second of those that the job was allotted.
# | apiVersion: vtorque/v1
# | name: pinned
# | image: debian-12
# | vcpus: 2
# | memory: 1536MiB
# | pinning: {map: [0, 1]}
# | allow_degraded: [unpinned]          # run all the same where there are fewer CPUs; the run says so
# | batch: {walltime: "00:20:00"}
# | run: nproc && grep -m1 'model name' /proc/cpuinfo
exec vtorque-runtime job torque <<'VTORQUE-USER-PART'
VTU1.eyJlbnYiOltdLCJlcGlsb2d1ZSI6bnVsbCwicHJvbG9ndWUiOm51bGwsInJ1biI6eyJhcmd
zIjpbXSwidGV4dCI6Im5wcm9jICYmIGdyZXAgLW0xICdtb2RlbCBuYW1lJyAvcHJvYy9jcHVpbmZ
vIn0sInZlcnNpb24iOjF9
VTORQUE-USER-PART
