#!/bin/bash
#PBS -S /bin/bash
#PBS -N osv
#PBS -l walltime=01:00:00
#PBS -q batch
#PBS -l nodes=1:ppn=4
#PBS -l mem=536870912b
#PBS -v BEOWULF_JOB_MAP=VT1.eyJqb2IiOnsiYXBpVmVyc2lvbiI6InZ0b3JxdWUvdjEiLCJlbnYiOnsiR1JFRVRJTkciOnsidmFsdWUiOiJoZWxsbyBmcm9tIE9TdiwgJFVTRVIifX0sImltYWdlIjp7Im5hbWUiOiJvc3YtdG9vbHMifSwibWVtb3J5IjoyNjg0MzU0NTYsIm1vdW50cyI6W3sibmFtZSI6Im9wdCIsInRhcmdldCI6Ii9kYXRhIn1dLCJuYW1lIjoib3N2IiwicnVuIjp7ImNvbW1hbmQiOlsiL3dvcmRjb3VudC5zbyIsIi12IiwiLS1wYXR0ZXJuPWEgYiIsIi9kYXRhL3dvcmRzLnR4dCJdfSwidmNwdXMiOjJ9LCJqb2JfcGxhbl9kaWdlc3QiOiJzaGEyNTY6MmFlNGFhZWI4NDhkNjFkM2QxNmYxMWY1ZWM5MTI1YzJhZWY0YTc2Y2NlMTA1YTE0NGRkMzFlMTlkZjAwYWQzZiIsInBvbGljeV9kaWdlc3QiOiJzaGEyNTY6ZDZhMWQ5YWZhMzA2MjhmYmMzNjgyM2QyZmE4NGI1M2YyZTQ1NjM4OTNkNzNkM2EzMTYwOGNlZDNhOWFmNjhhMiJ9
#
# The job, for people to read; the machines read what is encoded above and below.
# | # An OSv guest: its kernel runs the program, there is no other. Exit code and output are the job's.
# | # The image is one of the example site's: vtorque compile --site examples/site examples/osv.vjob.yaml
# | apiVersion: vtorque/v1
# | name: osv
# | image: osv-tools
# | vcpus: 2
# | memory: 256MiB
# | mounts: [{name: opt, target: /data}]     # read-only: OSv writes to no share of the node's
# | env: {GREETING: "hello from OSv, $USER"} # as it is: nothing expands it
# | run: {command: [/wordcount.so, -v, "--pattern=a b", /data/words.txt]}
exec vtorque-runtime job torque <<'VTORQUE-USER-PART'
VTU1.eyJlbnYiOltdLCJlcGlsb2d1ZSI6bnVsbCwicHJvbG9ndWUiOm51bGwsInJ1biI6bnVsbCw
idmVyc2lvbiI6MX0=
VTORQUE-USER-PART
