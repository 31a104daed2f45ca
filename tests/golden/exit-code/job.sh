#!/bin/bash
#PBS -S /bin/bash
#PBS -N exit-code
#PBS -l walltime=01:00:00
#PBS -l nodes=1:ppn=1
#PBS -l mem=1342177280b
#PBS -v BEOWULF_JOB_MAP=VT1.eyJqb2IiOnsiYXBpVmVyc2lvbiI6InZ0b3JxdWUvdjEiLCJpbWFnZSI6eyJuYW1lIjoiZGViaWFuLTEyIn0sIm5hbWUiOiJleGl0LWNvZGUifSwiam9iX3BsYW5fZGlnZXN0Ijoic2hhMjU2OmUwZmU0NDkyOGZjZmNjNTAwZTNkYTljNDQyNDViZjZjNzAwZjU2MGZiOTM5ZWZkN2ViMDU0N2ZjYmRmYTg0ZTAiLCJwb2xpY3lfZGlnZXN0Ijoic2hhMjU2OjhlZGQwZTFjMzg0NDVkYmY5YzRjZDQ3ODQwMWFlOWU5Mzc4MDc5NWM3MGEyNzNiZjNjYjBkOWE4NjdiOWJmMDQifQ==
#
# The job, for people to read; the machines read what is encoded above and below.
# | # The job's own exit code comes back: `vtorque run` exits with 7.
# | apiVersion: vtorque/v1
# | name: exit-code
# | image: debian-12
# | run: |
# |   echo "this goes to standard output"
# |   echo "this goes to standard error" >&2
# |   exit 7
exec vtorque-runtime job torque <<'VTORQUE-USER-PART'
VTU1.eyJlbnYiOltdLCJlcGlsb2d1ZSI6bnVsbCwicHJvbG9ndWUiOm51bGwsInJ1biI6eyJhcmd
zIjpbXSwidGV4dCI6ImVjaG8gXCJ0aGlzIGdvZXMgdG8gc3RhbmRhcmQgb3V0cHV0XCJcbmVjaG8
gXCJ0aGlzIGdvZXMgdG8gc3RhbmRhcmQgZXJyb3JcIiA+JjJcbmV4aXQgN1xuIn0sInZlcnNpb24
iOjF9
VTORQUE-USER-PART
