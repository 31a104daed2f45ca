#!/bin/bash
#PBS -S /bin/bash
#PBS -N primes
#PBS -l walltime=00:15:00
#PBS -o primes.out
#PBS -j oe
#PBS -l nodes=1:ppn=1
#PBS -l mem=1342177280b
#PBS -v BEOWULF_JOB_MAP=VT1.eyJqb2IiOnsiYXBpVmVyc2lvbiI6InZ0b3JxdWUvdjEiLCJiYXRjaCI6eyJqb2luIjp0cnVlLCJvdXRwdXQiOiJwcmltZXMub3V0Iiwid2FsbHRpbWUiOjkwMH0sImltYWdlIjp7Im5hbWUiOiJkZWJpYW4tMTIifSwibmFtZSI6InByaW1lcyJ9LCJqb2JfcGxhbl9kaWdlc3QiOiJzaGEyNTY6NDRhNDFhOGYwOTE0NzU3Y2VjZGY3ZDM2ZTIwZmMwNjBkNDRkYWYyYzQ5MDg0YzI4YzA4OTUzYTFlOGNkYzU5OCIsInBvbGljeV9kaWdlc3QiOiJzaGEyNTY6OGVkZDBlMWMzODQ0NWRiZjljNGNkNDc4NDAxYWU5ZTkzNzgwNzk1YzcwYTI3M2JmM2NiMGQ5YTg2N2I5YmYwNCJ9
#
# The job, for people to read; the machines read what is encoded above and below.
# | # A script beside this file, with arguments; it is embedded when the job is compiled, and so are the hooks.
# | apiVersion: vtorque/v1
# | name: primes
# | image: debian-12
# | batch:
# |   walltime: "00:15:00"
# |   output: primes.out
# |   join: true
# | hooks:
# |   prologue: ./scripts/prepare.sh
# |   epilogue: {inline: 'echo "the job is over: $(ls results | wc -l) result file"'}
# | env:
# |   RESULTS: results
# | run: {script: ./scripts/primes.py, args: ["--below", "100"]}
exec vtorque-runtime job torque <<'VTORQUE-USER-PART'
VTU1.eyJlbnYiOlt7ImZyb21fZmlsZSI6bnVsbCwibmFtZSI6IlJFU1VMVFMiLCJ2YWx1ZSI6InJ
lc3VsdHMifV0sImVwaWxvZ3VlIjp7ImFyZ3MiOltdLCJ0ZXh0IjoiZWNobyBcInRoZSBqb2IgaXM
gb3ZlcjogJChscyByZXN1bHRzIHwgd2MgLWwpIHJlc3VsdCBmaWxlXCIifSwicHJvbG9ndWUiOns
iYXJncyI6W10sInRleHQiOiJta2RpciAtcCBcIiRSRVNVTFRTXCIgJiYgZWNobyBcInByZXBhcmV
kICRSRVNVTFRTIG9uICQoaG9zdG5hbWUpXCJcbiJ9LCJydW4iOnsiYXJncyI6WyItLWJlbG93Iiw
iMTAwIl0sInRleHQiOiIjIS91c3IvYmluL2VudiBweXRob24zXG5cIlwiXCJXcml0ZXMgdGhlIHB
yaW1lcyBiZWxvdyBhIGJvdW5kIGludG8gYSBmaWxlIG9mICRSRVNVTFRTLlwiXCJcIlxuXG5pbXB
vcnQgb3NcbmltcG9ydCBzeXNcblxuYm91bmQgPSBpbnQoc3lzLmFyZ3Zbc3lzLmFyZ3YuaW5kZXg
oXCItLWJlbG93XCIpICsgMV0pXG5wcmltZXMgPSBbbiBmb3IgbiBpbiByYW5nZSgyLCBib3VuZCk
gaWYgYWxsKG4gJSBkIGZvciBkIGluIHJhbmdlKDIsIGludChuKiowLjUpICsgMSkpXVxud2l0aCB
vcGVuKG9zLnBhdGguam9pbihvcy5lbnZpcm9uW1wiUkVTVUxUU1wiXSwgXCJwcmltZXMudHh0XCI
pLCBcIndcIikgYXMgc3RyZWFtOlxuICAgIHByaW50KCpwcmltZXMsIHNlcD1cIlxcblwiLCBmaWx
lPXN0cmVhbSlcbnByaW50KGZcIntsZW4ocHJpbWVzKX0gcHJpbWVzIGJlbG93IHtib3VuZH1cIil
cbiJ9LCJ2ZXJzaW9uIjoxfQ==
VTORQUE-USER-PART
