"""Placement: which host CPUs and how much memory the job's VMs get on one node. Pure functions.

`nodes` says what of a machine a job may use, `demand` what the job asks of it; `engine` brings the two together, and
`fit` says the outcome in the job's words (`shortage`: what is short, `remedy`: what would fit). `request` chooses a
class of nodes for the script; `guests`, `memory` and `node_plan` tell each guest its part; `drawn` makes the picture.
"""
