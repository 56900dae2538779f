"""A profile that a newer release wrote: a minor revision is read, kept whole and decoded with, a major one refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import casspec
from casspec.cli.main import main
from casspec.storage.document import SCHEMA_VERSION, SchemaVersion
from casspec.storage.errors import MalformedFile
from casspec.storage.export import json_profile
from casspec.storage.schema import CascadeProfile
from tests.runtime.tiny import repetitive_prompt, tiny_profile, tiny_target

OURS = SchemaVersion.parse(SCHEMA_VERSION)
NEXT_MINOR, NEXT_MAJOR = f"{OURS.major}.{OURS.minor + 1}", f"{OURS.major + 1}.0"


@pytest.fixture(scope="module")
def target():
    return tiny_target(seed=7)


def written(profile: CascadeProfile, **changes: Any) -> dict[str, Any]:
    return json.loads(profile.canonical_json()) | changes


def of_the_future(profile: CascadeProfile, version: str | int = NEXT_MINOR) -> dict[str, Any]:
    """The JSON of a release that knows of fields at the top and inside drafters, their plans and the latency model."""
    content = written(profile, schema_version=version, energy={"joules_per_token": 2.5})
    content["drafters"][0]["heads"] = [3, 1]
    content["drafters"][0]["quantization"]["group"] = 64
    content["latency"]["throttled"] = True
    content["device"]["cooling"] = "water"
    return content


@pytest.fixture
def file(target, tmp_path: Path) -> Path:
    path = tmp_path / "profile.json"
    path.write_text(json.dumps(of_the_future(tiny_profile(target).document)))
    return path


def test_unknown_fields_survive_reading_changing_and_writing(file: Path) -> None:
    profile = json_profile.read(file)
    changed = profile.model_copy(update={"seed": 5})
    assert json.loads(json_profile.export(changed).text) == json.loads(file.read_text()) | {"seed": 5}
    assert CascadeProfile.model_validate_json(profile.canonical_json()) == profile


@pytest.mark.parametrize("place", [(), ("drafters", 0), ("drafters", 0, "quantization"), ("latency",), ("device",)])
def test_what_is_unknown_is_content_at_every_depth(target, place: tuple[str | int, ...]) -> None:
    def read(value: Any) -> str:
        content = written(tiny_profile(target).document, schema_version=NEXT_MINOR)
        inner: Any = content
        for step in place:
            inner = inner[step]
        inner["unheard_of"] = value
        return CascadeProfile.model_validate(content).content_hash()

    assert len({read([1]), read([2]), read(None)}) == 3
    assert read(None) == tiny_profile(target).document.content_hash()


def test_a_model_and_device_that_differ_in_what_is_unknown_here_alone_are_the_same(target) -> None:
    content = of_the_future(tiny_profile(target).document)
    content["model"]["revision"] = "2026-11"
    profile = CascadeProfile.model_validate(content)
    expected = casspec.Decoder(target, method="autoregressive").generate(repetitive_prompt(20), 12).token_ids
    assert casspec.Decoder(target, profile).generate(repetitive_prompt(20), 12).token_ids == expected


def test_a_document_of_the_future_can_become_part_of_another(target) -> None:
    profile = CascadeProfile.model_validate(of_the_future(tiny_profile(target).document))
    assert CascadeProfile.model_validate(profile) == profile
    again = CascadeProfile(**{name: getattr(profile, name) for name in CascadeProfile.model_fields})
    assert again.drafters[0] == profile.drafters[0]


def test_defaults_inside_what_is_unknown_are_no_content(target) -> None:
    plain, filled = of_the_future(tiny_profile(target).document), of_the_future(tiny_profile(target).document)
    filled["energy"] |= {"note": "", "by_mode": {}, "samples": None}
    one, other = CascadeProfile.model_validate(plain), CascadeProfile.model_validate(filled)
    assert one.content_hash() == other.content_hash()


def test_a_typo_in_a_profile_of_this_release_is_refused(target) -> None:
    for version in (1, "1", "1.0", SCHEMA_VERSION):
        content = of_the_future(tiny_profile(target).document, version)
        del content["device"]["cooling"]
        with pytest.raises(MalformedFile, match=r"drafters\.0\.quantization: unknown field group"):
            json_profile.parse(content, Path("p.json"))
    with pytest.raises(MalformedFile, match="the document: unknown field dtpe"):
        json_profile.parse(written(tiny_profile(target).document, dtpe="float32"), Path("p.json"))
    CascadeProfile.model_validate(of_the_future(tiny_profile(target).document))  # leaves no leniency behind
    with pytest.raises(ValueError, match="unknown field cooling"):
        CascadeProfile.model_validate(of_the_future(tiny_profile(target).document, SCHEMA_VERSION))


@pytest.mark.parametrize("version", [1, "1", "1.0", SCHEMA_VERSION])
def test_a_profile_of_this_release_or_before_is_read_as_one_of_this_release(target, version: str | int) -> None:
    profile = tiny_profile(target).document
    read = json_profile.parse(written(profile, schema_version=version), Path("p.json"))
    assert read == profile
    assert (read.schema_version, read.content_hash()) == (SCHEMA_VERSION, profile.content_hash())


@pytest.mark.parametrize("version", [0, -1, True, 1.1, "1.x", "1.1.1", "", None])
def test_what_is_no_version_is_no_profile(target, version: object) -> None:
    with pytest.raises(MalformedFile, match=r"is no valid profile|holds no casspec profile"):
        json_profile.parse(written(tiny_profile(target).document, schema_version=version), Path("p.json"))


def test_a_file_of_the_next_minor_revision_decodes(target, file: Path) -> None:
    prompt = repetitive_prompt(40, seed=2)
    loaded = casspec.load_profile(file)
    assert loaded.document is not None
    assert loaded.document.schema_version == NEXT_MINOR
    found = casspec.Decoder(target, loaded).generate(prompt, 24)
    assert found.token_ids == casspec.Decoder(target, tiny_profile(target).document).generate(prompt, 24).token_ids
    assert found.statistics.drafted_tokens > 0


def test_the_next_minor_revision_is_imported_shown_and_exported_whole(
    target, file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    storage = ("--storage", str(tmp_path / "store.db"))
    assert main(["import", str(file), *storage]) == 0
    profile_id = capsys.readouterr().out.strip()
    assert main(["profiles", "show", profile_id, *storage]) == 0
    assert "tiny-llama" in capsys.readouterr().out
    assert main(["profiles", "show", profile_id, "--format", "json", *storage]) == 0
    assert json.loads(capsys.readouterr().out)["profile"] == json.loads(file.read_text())
    loaded = casspec.load_profile(profile_id, storage[1])
    assert casspec.Decoder(target, loaded).generate(repetitive_prompt(40), 4).token_ids


def test_the_next_major_revision_is_refused_in_one_line(
    target, file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file.write_text(json.dumps(of_the_future(tiny_profile(target).document, NEXT_MAJOR)))
    assert main(["import", str(file), "--storage", str(tmp_path / "store.db")]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    for told in (str(file), f"schema {NEXT_MAJOR} was found", f"understands {OURS.major}.x", "upgrade casspec"):
        assert told in err
    with pytest.raises(MalformedFile, match="upgrade casspec"):
        casspec.load_profile(file)


def test_a_stored_profile_of_the_next_major_revision_is_told_in_one_line(
    target, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from sqlalchemy import update

    from casspec.storage.database.connection import open_database
    from casspec.storage.database.tables import ProfileRow
    from casspec.storage.repository import Repository

    storage, profile = str(tmp_path / "store.db"), tiny_profile(target).document
    database = open_database(storage)
    Repository(database).save_profile(None, profile)
    with database.writing() as session:
        session.execute(update(ProfileRow).values(document=json.dumps(written(profile, schema_version=NEXT_MAJOR))))
    database.close()
    for command in ("list", "show"):
        assert main(["profiles", command, "--storage", storage]) == 2
        assert f"CascadeProfile schema {NEXT_MAJOR} was found" in capsys.readouterr().err
