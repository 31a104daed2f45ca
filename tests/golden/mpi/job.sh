#!/bin/bash
#PBS -S /bin/bash
#PBS -N mpi
#PBS -l walltime=01:00:00
#PBS -l nodes=1:ppn=4
#PBS -l mem=2684354560b
#PBS -v BEOWULF_JOB_MAP=VT1.eyJqb2IiOnsiYXBpVmVyc2lvbiI6InZ0b3JxdWUvdjEiLCJpbWFnZSI6eyJuYW1lIjoiZGViaWFuLTEyLW1waSJ9LCJtb3VudHMiOlt7Im5hbWUiOiJob21lIn1dLCJuYW1lIjoibXBpIiwicGlubmluZyI6eyJtb2RlIjoiYXV0byJ9LCJ2Y3B1cyI6Miwidm1zX3Blcl9ub2RlIjoyfSwiam9iX3BsYW5fZGlnZXN0Ijoic2hhMjU2OjFhZmNmY2RmMTllYTJiMDY5ZTA2NTRmN2M2ZDgxMjQ2MjdiMDU1MDk5NzVlYjJjOWNjZDZmYTMyZDExMDFmMTMiLCJwb2xpY3lfZGlnZXN0Ijoic2hhMjU2OjhlZGQwZTFjMzg0NDVkYmY5YzRjZDQ3ODQwMWFlOWU5Mzc4MDc5NWM3MGEyNzNiZjNjYjBkOWE4NjdiOWJmMDQifQ==
#
# The job, for people to read; the machines read what is encoded above and below.
# | # MPI over two VMs: without a word on hosts or ranks, `mpirun` starts one rank for each vCPU of the job.
# | apiVersion: vtorque/v1
# | name: mpi
# | image: debian-12-mpi                # Open MPI and MPICH; `vtorque image build debian-12-mpi`
# | vcpus: 2
# | vms_per_node: 2
# | pinning: auto
# | mounts: [home]                      # all VMs see the program
# | run: |
# |   sort "$PBS_NODEFILE" | uniq -c
# |   mpirun sh -c 'echo "rank $OMPI_COMM_WORLD_RANK of $OMPI_COMM_WORLD_SIZE on $(hostname)"'
exec vtorque-runtime job torque <<'VTORQUE-USER-PART'
VTU1.eyJlbnYiOltdLCJlcGlsb2d1ZSI6bnVsbCwicHJvbG9ndWUiOm51bGwsInJ1biI6eyJhcmd
zIjpbXSwidGV4dCI6InNvcnQgXCIkUEJTX05PREVGSUxFXCIgfCB1bmlxIC1jXG5tcGlydW4gc2g
gLWMgJ2VjaG8gXCJyYW5rICRPTVBJX0NPTU1fV09STERfUkFOSyBvZiAkT01QSV9DT01NX1dPUkx
EX1NJWkUgb24gJChob3N0bmFtZSlcIidcbiJ9LCJ2ZXJzaW9uIjoxfQ==
VTORQUE-USER-PART
