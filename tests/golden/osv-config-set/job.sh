#!/bin/bash
#PBS -S /bin/bash
#PBS -N osv-set
#PBS -l walltime=01:00:00
#PBS -q batch
#PBS -l nodes=1:ppn=8
#PBS -l mem=1342177280b
#PBS -v BEOWULF_JOB_MAP=VT1.eyJqb2IiOnsiYXBpVmVyc2lvbiI6InZ0b3JxdWUvdjEiLCJlbnYiOnsiQ0FTRSI6eyJ2YWx1ZSI6Ii9jYXNlcy9jYXZpdHkifX0sImltYWdlIjp7Im5hbWUiOiJvc3Ytc29sdmVyIn0sIm1lbW9yeSI6MTA3Mzc0MTgyNCwibmFtZSI6Im9zdi1zZXQiLCJydW4iOnsiY29uZmlnX3NldCI6InN0ZWFkeSJ9LCJ2Y3B1cyI6NH0sImpvYl9wbGFuX2RpZ2VzdCI6InNoYTI1Njo2NjIzMjZhZDNhZTQ1MTIyMjU2NWJhNDQ5Mzc1OWU0YWJmZDhjNzc4NzlmNGFjYTAyMzMxMWExYmRhNGU3NWY5IiwicG9saWN5X2RpZ2VzdCI6InNoYTI1NjpkNmExZDlhZmEzMDYyOGZiYzM2ODIzZDJmYTg0YjUzZjJlNDU2Mzg5M2Q3M2QzYTMxNjA4Y2VkM2E5YWY2OGEyIn0=
#
# The job, for people to read; the machines read what is encoded above and below.
# | # An image that Capstan composed, run by one of its config sets. What `env` says here is not changed by the set.
# | # The image is one of the example site's: vtorque compile --site examples/site examples/osv-config-set.vjob.yaml
# | apiVersion: vtorque/v1
# | name: osv-set
# | image: osv-solver
# | vcpus: 4
# | memory: 1GiB
# | env: {CASE: /cases/cavity}
# | run: {config_set: steady}
exec vtorque-runtime job torque <<'VTORQUE-USER-PART'
VTU1.eyJlbnYiOltdLCJlcGlsb2d1ZSI6bnVsbCwicHJvbG9ndWUiOm51bGwsInJ1biI6bnVsbCw
idmVyc2lvbiI6MX0=
VTORQUE-USER-PART
