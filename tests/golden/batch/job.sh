#!/bin/bash
#PBS -S /bin/bash
#PBS -N nightly
#PBS -l walltime=12:00:00
#PBS -q long
#PBS -A hpc1234
#PBS -o logs/nightly.out
#PBS -j oe
#PBS -l nodes=1:ppn=4
#PBS -l mem=8858370048b
#PBS -v BEOWULF_JOB_MAP=VT1.eyJqb2IiOnsiYXBpVmVyc2lvbiI6InZ0b3JxdWUvdjEiLCJiYXRjaCI6eyJhY2NvdW50IjoiaHBjMTIzNCIsImpvaW4iOnRydWUsIm5vZGVzIjoxLCJvdXRwdXQiOiJsb2dzL25pZ2h0bHkub3V0IiwicXVldWUiOiJsb25nIiwid2FsbHRpbWUiOjQzMjAwfSwiZ3Vlc3QiOiJsaW51eCIsImltYWdlIjp7Im5hbWUiOiJkZWJpYW4tMTIifSwibWVtb3J5Ijo4NTg5OTM0NTkyLCJuYW1lIjoibmlnaHRseSIsIm5ldHdvcmsiOnsibmFtZSI6ImRlZmF1bHQifSwicm9vdF9kaXNrIjp7ImJhY2tpbmciOiJzaGFyZWQiLCJzaXplIjo0Mjk0OTY3Mjk2MH0sInRpbWVvdXRzIjp7ImJvb3QiOjYwMCwiZ3JhY2UiOjEyMH0sInZjcHVzIjo0LCJ2bXNfcGVyX25vZGUiOjF9LCJqb2JfcGxhbl9kaWdlc3QiOiJzaGEyNTY6OWJiZTY1Yzk2NzQ0Y2NiNzc4YzNlZWJlZjQzYjE0ZDBhYTE1NGFiYTczZTg2ZjQ0NGYwMTRmZWU3ZTA4YmUxOSIsInBvbGljeV9kaWdlc3QiOiJzaGEyNTY6OGVkZDBlMWMzODQ0NWRiZjljNGNkNDc4NDAxYWU5ZTkzNzgwNzk1YzcwYTI3M2JmM2NiMGQ5YTg2N2I5YmYwNCJ9
#
# The job, for people to read; the machines read what is encoded above and below.
# | # Everything that this version asks of a batch system: vtorque compile examples/batch.vjob.yaml | qsub
# | apiVersion: vtorque/v1
# | name: nightly
# | image: debian-12
# | guest: linux
# | vcpus: 4
# | memory: 8GiB
# | vms_per_node: 1
# | batch:
# |   nodes: 1
# |   walltime: "12:00:00"
# |   queue: long
# |   account: hpc1234
# |   output: logs/nightly.out
# |   join: true
# | root_disk: {backing: shared, size: 40GiB}
# | network: default
# | timeouts: {boot: 10 min, grace: 2 min}
# | run: |
# |   # single quotes ', double quotes ", backslashes \ and $(substitutions) travel as they are
# |   printf '%s\n' "$HOME" 'it'\''s' "tab	here" | tee report.txt
exec vtorque-runtime job torque <<'VTORQUE-USER-PART'
VTU1.eyJlbnYiOltdLCJlcGlsb2d1ZSI6bnVsbCwicHJvbG9ndWUiOm51bGwsInJ1biI6eyJhcmd
zIjpbXSwidGV4dCI6IiMgc2luZ2xlIHF1b3RlcyAnLCBkb3VibGUgcXVvdGVzIFwiLCBiYWNrc2x
hc2hlcyBcXCBhbmQgJChzdWJzdGl0dXRpb25zKSB0cmF2ZWwgYXMgdGhleSBhcmVcbnByaW50ZiA
nJXNcXG4nIFwiJEhPTUVcIiAnaXQnXFwnJ3MnIFwidGFiXHRoZXJlXCIgfCB0ZWUgcmVwb3J0LnR
4dFxuIn0sInZlcnNpb24iOjF9
VTORQUE-USER-PART
