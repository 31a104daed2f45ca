#!/bin/bash
#PBS -S /bin/bash
#PBS -N secrets
#PBS -l walltime=01:00:00
#PBS -l nodes=1:ppn=1
#PBS -l mem=1342177280b
#PBS -v BEOWULF_JOB_MAP=VT1.eyJqb2IiOnsiYXBpVmVyc2lvbiI6InZ0b3JxdWUvdjEiLCJpbWFnZSI6eyJuYW1lIjoiZGViaWFuLTEyIn0sIm5hbWUiOiJzZWNyZXRzIn0sImpvYl9wbGFuX2RpZ2VzdCI6InNoYTI1Njo0NWM2OTgwZjZkNGFlYmYyMTc3ZDA0M2U4YWQwNjZhMTY4ZTQyYjIzYzYxZDNjMmVmZjFjYzhjYzU4ZGNmMzZhIiwicG9saWN5X2RpZ2VzdCI6InNoYTI1Njo4ZWRkMGUxYzM4NDQ1ZGJmOWM0Y2Q0Nzg0MDFhZTllOTM3ODA3OTVjNzBhMjczYmYzY2IwZDlhODY3YjliZjA0In0=
#
# The job, for people to read; the machines read what is encoded above and below.
# | # Environment: plain values stand in the batch script, where others may read them; a file is read when the job starts,
# | # by the job owner's own process.
# | apiVersion: vtorque/v1
# | name: secrets
# | image: debian-12
# | env:
# |   LANG: C.UTF-8
# |   GREETING: "it's \"quoted\", with $dollars and `ticks`"
# |   TOKEN: {from_file: /etc/hostname}
# | run: |
# |   printf '%s\n' "$GREETING"
# |   echo "the token has ${#TOKEN} characters"
exec vtorque-runtime job torque <<'VTORQUE-USER-PART'
VTU1.eyJlbnYiOlt7ImZyb21fZmlsZSI6bnVsbCwibmFtZSI6IkdSRUVUSU5HIiwidmFsdWUiOiJ
pdCdzIFwicXVvdGVkXCIsIHdpdGggJGRvbGxhcnMgYW5kIGB0aWNrc2AifSx7ImZyb21fZmlsZSI
6bnVsbCwibmFtZSI6IkxBTkciLCJ2YWx1ZSI6IkMuVVRGLTgifSx7ImZyb21fZmlsZSI6Ii9ldGM
vaG9zdG5hbWUiLCJuYW1lIjoiVE9LRU4iLCJ2YWx1ZSI6bnVsbH1dLCJlcGlsb2d1ZSI6bnVsbCw
icHJvbG9ndWUiOm51bGwsInJ1biI6eyJhcmdzIjpbXSwidGV4dCI6InByaW50ZiAnJXNcXG4nIFw
iJEdSRUVUSU5HXCJcbmVjaG8gXCJ0aGUgdG9rZW4gaGFzICR7I1RPS0VOfSBjaGFyYWN0ZXJzXCJ
cbiJ9LCJ2ZXJzaW9uIjoxfQ==
VTORQUE-USER-PART
