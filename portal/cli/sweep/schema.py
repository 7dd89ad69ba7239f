"""`portal sweep schema`: what a study file may say, for editors."""

import json

import typer


def schema() -> None:
    """Print the JSON schema of study files, for editors that complete and check them."""
    from sweeps.study.study_file import json_schema

    typer.echo(json.dumps(json_schema(), indent=2))
