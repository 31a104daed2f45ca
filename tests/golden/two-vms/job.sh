#!/bin/bash
#PBS -S /bin/bash
#PBS -N two-vms
#PBS -l walltime=00:20:00
#PBS -l nodes=1:ppn=64
#PBS -l mem=2684354560b
#PBS -n
#PBS -v BEOWULF_JOB_MAP=VT1.eyJqb2IiOnsiYXBpVmVyc2lvbiI6InZ0b3JxdWUvdjEiLCJiYXRjaCI6eyJleGNsdXNpdmUiOnRydWUsIndhbGx0aW1lIjoxMjAwfSwiaW1hZ2UiOnsibmFtZSI6ImRlYmlhbi0xMiJ9LCJpb2NtIjp7ImVuYWJsZWQiOnRydWUsIm1heF9jb3JlcyI6MiwibWluX2NvcmVzIjoxfSwibWVtb3J5IjoxMDczNzQxODI0LCJuYW1lIjoidHdvLXZtcyIsInBpbm5pbmciOnsibW9kZSI6ImF1dG8ifSwidmNwdXMiOjIsInZtc19wZXJfbm9kZSI6Mn0sImpvYl9wbGFuX2RpZ2VzdCI6InNoYTI1NjpmY2QxYjNiZjQxYWY0Mjk1ZDAyNTE4ODkxYWUxYmExNDZjNGU1MjIyMGU0YzQ1OWU4YTc4NjhlYTFmYTc0YWJiIiwicG9saWN5X2RpZ2VzdCI6InNoYTI1Njo4ZWRkMGUxYzM4NDQ1ZGJmOWM0Y2Q0Nzg0MDFhZTllOTM3ODA3OTVjNzBhMjczYmYzY2IwZDlhODY3YjliZjA0In0=
#
# The job, for people to read; the machines read what is encoded above and below.
# | # Two VMs side by side on a node, each on CPUs of its own, and cores that serve their disks and network.
# | apiVersion: vtorque/v1
# | name: two-vms
# | image: debian-12
# | vcpus: 2
# | memory: 1GiB
# | vms_per_node: 2
# | pinning: auto                       # the fewest NUMA cells for each VM
# | iocm: {min_cores: 1, max_cores: 2}  # one works from the start; `vtorque-runtime iocm set 2` puts the other one to work
# | batch: {walltime: "00:20:00", exclusive: true}
# | run: nproc && hostname
exec vtorque-runtime job torque <<'VTORQUE-USER-PART'
VTU1.eyJlbnYiOltdLCJlcGlsb2d1ZSI6bnVsbCwicHJvbG9ndWUiOm51bGwsInJ1biI6eyJhcmd
zIjpbXSwidGV4dCI6Im5wcm9jICYmIGhvc3RuYW1lIn0sInZlcnNpb24iOjF9
VTORQUE-USER-PART
