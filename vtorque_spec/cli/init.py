"""`vtorque init [FILE]`."""

from pathlib import Path

import click

from vtorque_spec import data


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False), default="job.vjob.yaml")
def command(file: Path) -> int:
    """Write a commented job file to start from; an existing file is left alone.

    \b
    vtorque init
    vtorque init cavity.vjob.yaml
    """
    text = (data.schemas() / "job-template.vjob.yaml").read_text(encoding="utf-8").replace("@FILE@", str(file))
    try:
        with file.open("x", encoding="utf-8") as stream:
            stream.write(text)
    except FileExistsError:
        raise click.UsageError(f"{file} is there already") from None
    except OSError as error:
        raise click.UsageError(f"{file} cannot be written: {error.strerror}") from None
    click.echo(f"{file} is written; try: vtorque lint {file}", err=True)
    return 0
