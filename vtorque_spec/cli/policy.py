"""`vtorque policy ...`: what admins do with their rules; one module per command, imported when it is called."""

from vtorque_spec.cli.lazy import lazy_group

COMMANDS = {
    "lint": "Find what is wrong, contradictory or useless in a policy.",
    "test": "Run the policy's own cases, and tell which rules none has fired.",
    "diff": "Tell which jobs change their verdict or their values between two policies.",
    "show": "Show what a user may ask for, as a table or as a page to publish.",
}

command = lazy_group(
    "policy", "vtorque_spec.cli.policy_{}", COMMANDS, """Check, test, compare and show the site's rules."""
)
