#!/bin/bash
#PBS -S /bin/bash
#PBS -N home
#PBS -l walltime=01:00:00
#PBS -l nodes=1:ppn=1
#PBS -l mem=1342177280b
#PBS -v BEOWULF_JOB_MAP=VT1.eyJqb2IiOnsiYXBpVmVyc2lvbiI6InZ0b3JxdWUvdjEiLCJpbWFnZSI6eyJuYW1lIjoiZGViaWFuLTEyIn0sIm1vdW50cyI6W3sibmFtZSI6ImhvbWUifV0sIm5hbWUiOiJob21lIn0sImpvYl9wbGFuX2RpZ2VzdCI6InNoYTI1NjpiZmIxZmU1MDE2NTI3MDFjMDE4ZjJkMTM3YzMxYWU1ZGJjYzg2YzlmNGJhZTMzOTQ5YTk2YTE4NjA3Y2JkYWE0IiwicG9saWN5X2RpZ2VzdCI6InNoYTI1Njo4ZWRkMGUxYzM4NDQ1ZGJmOWM0Y2Q0Nzg0MDFhZTllOTM3ODA3OTVjNzBhMjczYmYzY2IwZDlhODY3YjliZjA0In0=
#
# The job, for people to read; the machines read what is encoded above and below.
# | # Work in the home directory of the host: the guest mounts it, files keep their owner.
# | apiVersion: vtorque/v1
# | name: home
# | image: debian-12
# | mounts: [home]
# | run: |
# |   echo "written in the guest by $(id -un) on $(hostname)" > vtorque-was-here.txt
# |   ls -l vtorque-was-here.txt
exec vtorque-runtime job torque <<'VTORQUE-USER-PART'
VTU1.eyJlbnYiOltdLCJlcGlsb2d1ZSI6bnVsbCwicHJvbG9ndWUiOm51bGwsInJ1biI6eyJhcmd
zIjpbXSwidGV4dCI6ImVjaG8gXCJ3cml0dGVuIGluIHRoZSBndWVzdCBieSAkKGlkIC11bikgb24
gJChob3N0bmFtZSlcIiA+IHZ0b3JxdWUtd2FzLWhlcmUudHh0XG5scyAtbCB2dG9ycXVlLXdhcy1
oZXJlLnR4dFxuIn0sInZlcnNpb24iOjF9
VTORQUE-USER-PART
