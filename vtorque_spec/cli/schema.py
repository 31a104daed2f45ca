"""`vtorque schema vjob`."""

import click

from vtorque_spec.spec.schema import vjob_schema_text


@click.command()
@click.argument("language", type=click.Choice(["vjob"]))
def command(language: str) -> None:
    """Print the JSON Schema of the job language, for editors and other tools.

    \b
    vtorque schema vjob > vjob.schema.json
    """
    click.echo(vjob_schema_text(), nl=False)
