#!/bin/bash
#PBS -S /bin/bash
#PBS -N own-image
#PBS -l walltime=01:00:00
#PBS -l nodes=1:ppn=1
#PBS -l mem=1342177280b
#
# The job, for people to read; the machines read what is encoded above and below.
# | # An image of one's own, where the site allows it: put your files here. A path may be relative to this file as well.
# | # The name is not one of the catalogue's.
# | apiVersion: vtorque/v1
# | name: own-image
# | image:
# |   name: mine
# |   disk: /home/alice/images/root.qcow2
# |   kernel: /home/alice/images/vmlinuz
# |   initrd: /home/alice/images/initrd.img
# |   cmdline: console=ttyS0 root=LABEL=root rw
# | mounts: [home]
# | run: |
# |   echo "hello from $(hostname): $(. /etc/os-release && echo "$PRETTY_NAME"), kernel $(uname -r)"
exec vtorque own torque <<'VTORQUE-PARTS'
VT1.eyJqb2IiOnsiYXBpVmVyc2lvbiI6InZ0b3JxdWUvdjEiLCJpbWFnZSI6eyJjbWRsaW5lIjoi
Y29uc29sZT10dHlTMCByb290PUxBQkVMPXJvb3QgcnciLCJkaXNrIjoiL2hvbWUvYWxpY2UvaW1h
Z2VzL3Jvb3QucWNvdzIiLCJpbml0cmQiOiIvaG9tZS9hbGljZS9pbWFnZXMvaW5pdHJkLmltZyIs
Imtlcm5lbCI6Ii9ob21lL2FsaWNlL2ltYWdlcy92bWxpbnV6IiwibmFtZSI6Im1pbmUifSwibW91
bnRzIjpbeyJuYW1lIjoiaG9tZSJ9XSwibmFtZSI6Im93bi1pbWFnZSJ9LCJqb2JfcGxhbl9kaWdl
c3QiOiJzaGEyNTY6OTJkZTczN2FhMTI2Mjg0Y2UzMTg4M2JmMTEwZTFiODc1ZmU5YWQ4NTMyOTkz
YWZiMTg3YTc1NDlmNjRmOGNkZSIsInBvbGljeV9kaWdlc3QiOiJzaGEyNTY6OGVkZDBlMWMzODQ0
NWRiZjljNGNkNDc4NDAxYWU5ZTkzNzgwNzk1YzcwYTI3M2JmM2NiMGQ5YTg2N2I5YmYwNCJ9
VTU1.eyJlbnYiOltdLCJlcGlsb2d1ZSI6bnVsbCwicHJvbG9ndWUiOm51bGwsInJ1biI6eyJhcmd
zIjpbXSwidGV4dCI6ImVjaG8gXCJoZWxsbyBmcm9tICQoaG9zdG5hbWUpOiAkKC4gL2V0Yy9vcy1
yZWxlYXNlICYmIGVjaG8gXCIkUFJFVFRZX05BTUVcIiksIGtlcm5lbCAkKHVuYW1lIC1yKVwiXG4
ifSwidmVyc2lvbiI6MX0=
VTORQUE-PARTS
