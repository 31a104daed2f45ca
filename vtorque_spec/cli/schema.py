"""`vtorque schema vjob|site|policy`."""

from pathlib import Path

import click


@click.command()
@click.argument("language", type=click.Choice(["vjob", "site", "policy"]))
@click.option(
    "--site",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    metavar="DIR",
    help="vjob: merge this site's images, limits and defaults in. [default: the language alone]",
)
def command(language: str, site: Path | None) -> None:
    """Print the JSON Schema of job files, of site.yaml or of policies, for editors and other tools.

    \b
    vtorque schema vjob > vjob.schema.json
    vtorque schema vjob --site /etc/vtorque > vjob.schema.json
    vtorque schema site > site.schema.json
    vtorque schema policy > policy.schema.json
    """
    if site is not None and language != "vjob":
        raise click.UsageError("--site goes with `vtorque schema vjob`")
    click.echo(_text(language, site), nl=False)


def _text(language: str, directory: Path | None) -> str:
    if language == "site":
        from vtorque_spec.site.schema import site_schema_text

        return site_schema_text()
    if language == "policy":
        from vtorque_spec.policy.metaschema import policy_schema_text

        return policy_schema_text()
    if directory is None:
        from vtorque_spec.spec.schema import vjob_schema_text

        return vjob_schema_text()
    from vtorque_spec.cli.setting import the_site
    from vtorque_spec.policy.editor.schema import site_vjob_schema_text

    return site_vjob_schema_text(the_site(directory))
